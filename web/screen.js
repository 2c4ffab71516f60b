// The screen as a thing of glass: how large it is, where its camera is, where on it the picture is. Pure geometry.
//
// Screen coordinates are metres from the middle of the screen: right, up, out (towards the viewer).

export const CARD_M = [0.0856, 0.05398]; // a bank card: ISO/IEC 7810, ID-1
export const PIXEL_M = 0.0254 / 96; // CSS's idea of a pixel, until somebody holds a card to the screen
const RIM_M = 0.008; // from the edge of the picture to the camera's middle
export const CAMERA_PLACES = [
  ["above", "Above the screen"],
  ["below", "Below the screen"],
  ["left", "Left of the screen"],
  ["right", "Right of the screen"],
];

// Where a camera stands, in screen coordinates; `size` is the screen's [width, height] in metres.
export function cameraAt(place, [width, height]) {
  const x = width / 2 + RIM_M;
  const y = height / 2 + RIM_M;
  return { above: [0, y, 0], below: [0, -y, 0], left: [-x, 0, 0], right: [x, 0, 0] }[place];
}

// A point [x right, y down, z away] that the camera at `camera` sees, in screen coordinates. The camera looks at the viewer
// and faces straight out of the screen: what is right in its picture is on the viewer's left.
export const fromCamera = ([x, y, z], camera) => [camera[0] - x, camera[1] - y, camera[2] + z];

// The picture on the screen: {middle: [right, up, 0] and height, in metres}. `box` is {left, top, width, height} of its
// element and `aspect` the picture's width over height (it is shown whole), `view` a window's {screenX, screenY,
// outerWidth, outerHeight, innerWidth, innerHeight, screen}; `pixel` is metres a CSS pixel.
export function pictureOn(view, box, aspect, pixel) {
  // browsers have their bars above the page
  const left = view.screenX + (view.outerWidth - view.innerWidth) / 2 + box.left + box.width / 2;
  const top = view.screenY + (view.outerHeight - view.innerHeight) + box.top + box.height / 2;
  const x = (left - (view.screen.availLeft ?? 0) - view.screen.width / 2) * pixel;
  const y = (view.screen.height / 2 - (top - (view.screen.availTop ?? 0))) * pixel;
  return { middle: [x, y, 0], height: Math.min(box.height, box.width / aspect) * pixel };
}

// A point in screen coordinates, seen from the picture's middle, in half-heights of the picture.
export const fromPicture = (point, { middle, height }) => point.map((v, i) => ((v - middle[i]) * 2) / height);
