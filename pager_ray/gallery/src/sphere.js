// A 360° view: every pixel of the canvas looks along its own ray into the ERP, so no sphere of triangles bends it.
//
// Frame: x forward (centre of the ERP), y up, z right; yaw turns right, pitch looks up.

import * as THREE from "three";

const VERTEX = `
varying vec2 place;
void main() { place = position.xy; gl_Position = vec4(position.xy, 0.0, 1.0); }`;

const FRAGMENT = `
uniform sampler2D map;
uniform vec3 forward, right, up;
uniform vec2 reach, scale, offset;
varying vec2 place;
void main() {
  vec3 ray = forward + place.x * reach.x * right + place.y * reach.y * up;
  float longitude = atan(ray.z, ray.x);
  float latitude = atan(ray.y, length(ray.xz));
  vec2 at = vec2(longitude / 6.283185307179586 + 0.5, 0.5 - latitude / 3.141592653589793);
  gl_FragColor = vec4(texture2D(map, at * scale + offset).rgb, 1.0);
}`;

export const FIELDS = { start: 85, least: 20, most: 125 };

export function makeSphere(renderer) {
  const uniforms = {
    map: { value: null },
    forward: { value: new THREE.Vector3() },
    right: { value: new THREE.Vector3() },
    up: { value: new THREE.Vector3() },
    reach: { value: new THREE.Vector2() },
    scale: { value: new THREE.Vector2(1, 1) },
    offset: { value: new THREE.Vector2(0, 0) },
  };
  const material = new THREE.ShaderMaterial({
    uniforms, vertexShader: VERTEX, fragmentShader: FRAGMENT, depthTest: false, depthWrite: false, toneMapped: false,
  });
  const quad = new THREE.Mesh(new THREE.PlaneGeometry(2, 2), material);
  quad.frustumCulled = false;
  const scene = new THREE.Scene().add(quad);
  const camera = new THREE.Camera();
  const view = { yaw: 0, pitch: 0, field: FIELDS.start };

  /** Tangents of half the field of view; the larger side of the canvas spans `field` degrees. */
  function reach() {
    const { clientWidth: width, clientHeight: height } = renderer.domElement;
    const half = Math.tan((view.field * Math.PI) / 360) / Math.max(width, height);
    return [half * width, half * height];
  }

  function axes() {
    const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
    return { forward: [cp * cy, sp, cp * sy], right: [-sy, 0, cy], up: [-sp * cy, cp, -sp * sy] };
  }

  function draw() {
    const { forward, right, up } = axes();
    uniforms.forward.value.fromArray(forward);
    uniforms.right.value.fromArray(right);
    uniforms.up.value.fromArray(up);
    uniforms.reach.value.fromArray(reach());
    renderer.render(scene, camera);
  }

  /** Place in the ERP, (0, 0) top left and (1, 1) bottom right, that a point of the canvas shows (CSS pixels). */
  function placeAt(x, y) {
    const { clientWidth: width, clientHeight: height } = renderer.domElement;
    const [rx, ry] = reach();
    const [a, b] = [((2 * x) / width - 1) * rx, (1 - (2 * y) / height) * ry];
    const { forward, right, up } = axes();
    const ray = [0, 1, 2].map((k) => forward[k] + a * right[k] + b * up[k]);
    const longitude = Math.atan2(ray[2], ray[0]);
    const latitude = Math.atan2(ray[1], Math.hypot(ray[0], ray[2]));
    return [longitude / (2 * Math.PI) + 0.5, 0.5 - latitude / Math.PI];
  }

  return {
    view,
    draw,
    placeAt,
    /** Drags what is under the pointer along with it. */
    drag(dx, dy) {
      const { clientWidth: width, clientHeight: height } = renderer.domElement;
      const perPixel = (view.field * Math.PI) / 180 / Math.max(width, height);
      this.turn(-dx * perPixel, dy * perPixel);
    },
    turn(yaw, pitch) {
      view.yaw = ((view.yaw + yaw + 3 * Math.PI) % (2 * Math.PI)) - Math.PI;
      view.pitch = Math.min(Math.PI / 2, Math.max(-Math.PI / 2, view.pitch + pitch));
    },
    zoom(factor) {
      view.field = Math.min(FIELDS.most, Math.max(FIELDS.least, view.field * factor));
    },
    /** What to show: a texture, and how the ERP's places become its own. */
    use(texture, scale = [1, 1], offset = [0, 0]) {
      uniforms.map.value = texture;
      uniforms.scale.value.fromArray(scale);
      uniforms.offset.value.fromArray(offset);
    },
  };
}

/** A texture of a canvas or picture, its first row at the top. */
export function makeTexture(source, smooth) {
  const texture = new THREE.Texture(source);
  texture.flipY = false;
  texture.generateMipmaps = false;
  texture.wrapS = THREE.RepeatWrapping;
  texture.minFilter = texture.magFilter = smooth ? THREE.LinearFilter : THREE.NearestFilter;
  // Colours go to the screen as they are stored.
  texture.colorSpace = THREE.NoColorSpace;
  texture.needsUpdate = true;
  return texture;
}
