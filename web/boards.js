// The boards that the page knows: pure, sizes in millimetres, counts in squares.

const RATIO = 22 / 29; // marker to square
const MARKERS = "4X4_50";

export const KINDS = [
  ["charuco", "Markers: a part is enough"],
  ["chessboard", "Plain squares: seen farther"],
];
export const PLACES = [
  ["a4", "On paper, A4 or Letter"],
  ["a3", "On paper, A3"],
  ["screen", "On a tablet or another screen"],
  ["own", "I have a board already"],
];
export const FAMILIES = ["4X4_50", "4X4_100", "5X5_100", "5X5_1000", "6X6_250"].map((f) => [f, f.replace("X", " × ").replace("_", ", ")]);

const SQUARES = { charuco: [7, 5], chessboard: [9, 6] };
const SIDES = { a4: { charuco: 29, chessboard: 24 }, a3: { charuco: 42, chessboard: 36 }, screen: { charuco: 24, chessboard: 20 } };

// The board that is shown in a `place`, as it is drawn: {kind, across, down, square, marker, family}.
export function presetBoard(kind, place) {
  const [across, down] = SQUARES[kind];
  const square = (SIDES[place] ?? SIDES.a4)[kind];
  return { kind, across, down, square, marker: square * RATIO, family: MARKERS };
}

// The same board with squares that turned out to be of `square` mm.
export const scaled = (board, square) => ({ ...board, square, marker: (board.marker * square) / board.square });

// How the service is told of it; null where a figure is missing.
export function boardSpec({ kind, across, down, square, marker, family }) {
  const metres = (mm) => String(Number((mm / 1000).toFixed(6)));
  if (!(across > 0 && down > 0 && square > 0)) return null;
  if (kind === "chessboard") return `chessboard:${across - 1}x${down - 1}:${metres(square)}`;
  return marker > 0 ? `charuco:${across}x${down}:${metres(square)}:${metres(marker)}:${family}` : null;
}
