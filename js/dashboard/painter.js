// When a page is drawn: what takes long is drawn more seldom, so that it is free for whoever uses it.

const FREE = 3; // times as long as the last drawing took, with its layout, until the next
const LONGEST = 500; // milliseconds until the next all the same

/** {ask, close}: `draw` is called in a frame soon after it was asked for. */
export function makePainter(draw) {
  const { port1: drawn, port2: drawing } = new MessageChannel();
  let [asked, resting] = [false, false];
  let [began, frame, timer] = [0, 0, 0];
  function next() {
    if (asked && !resting) frame ||= requestAnimationFrame(paint);
  }
  function paint() {
    [frame, asked, resting] = [0, false, true];
    began = performance.now();
    drawing.postMessage(null); // comes when this frame is over
    draw();
  }
  drawn.onmessage = () => {
    timer = setTimeout(() => {
      resting = false;
      next();
    }, Math.min(FREE * (performance.now() - began), LONGEST));
  };
  return {
    ask() {
      asked = true;
      next();
    },
    close() {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
      drawn.close();
    },
  };
}
