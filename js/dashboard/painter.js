// When a page is drawn: what takes long is drawn more seldom, and later than the answer to a click, so that the page
// is free for whoever uses it.

const FREE = 3; // times as long as the last drawing took, with its layout, until the next
const LONGEST = 500; // milliseconds until the next all the same
const GIVEN = 100; // milliseconds that are left to what somebody does

/** {ask, giveWay, close}: `draw` is called in a frame soon after it was asked for, and some time after the last event it gave way to. */
export function makePainter(draw) {
  const { port1: drawn, port2: drawing } = new MessageChannel();
  let [asked, resting] = [false, false];
  let [began, frame, timer, giving, since] = [0, 0, 0, 0, 0];
  function next() {
    if (asked && !resting && !giving) frame ||= requestAnimationFrame(paint);
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
    giveWay() {
      if (!giving) since = performance.now();
      else if (performance.now() - since > LONGEST) return; // a key that is held
      clearTimeout(giving);
      giving = setTimeout(() => {
        giving = 0;
        next();
      }, GIVEN);
    },
    close() {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
      clearTimeout(giving);
      drawn.close();
    },
  };
}
