// The strip in time: how many requests each second saw, how many failed, and
// where traffic was cut over.
import { clock, element } from "./api.js";

const span = 120; // seconds
const around = 5_000; // milliseconds on both sides of a cut-over that are counted with it
const kept = 20; // cut-overs that are listed

export class Strip {
  #root;
  #seconds; // the columns, the oldest first
  #log;
  #bins = new Map(); // answered and failed by second
  #cuts = [];
  #high = true;

  constructor(root, log) {
    [this.#root, this.#log] = [root, log];
    this.#seconds = Array.from({ length: span }, () => {
      const failed = element("i", { className: "failed" }), answered = element("i");
      return { column: element("li", {}, failed, answered), failed, answered };
    });
    root.querySelector(".seconds").replaceChildren(...this.#seconds.map((s) => s.column));
  }

  // count notes that a request ended now.
  count(ok) {
    const second = Math.floor(Date.now() / 1000);
    const bin = this.#bins.get(second) ?? { answered: 0, failed: 0 };
    bin[ok ? "answered" : "failed"]++;
    this.#bins.set(second, bin);
  }

  // cut notes that traffic moved at some time between since and at.
  cut({ before, after, since, at }) {
    const from = before.migration_step, to = after.migration_step;
    const label = from === to ? `→${after.port}` : `${from}→${to}`;
    const mark = element("div", { className: "cut" }, element("b", { textContent: label }));
    mark.classList.toggle("high", (this.#high = !this.#high)); // two in a row can both be read
    mark.dataset.step = to;
    this.#root.append(mark);
    const line = element("li", { className: "number" });
    if (this.#cuts.length === 0) this.#log.replaceChildren();
    this.#log.prepend(line);
    const text = `${clock(at)}: step ${from} → ${to}, port ${before.port} → ${after.port}`;
    this.#cuts.push({ since, at, mark, line, text });
    if (this.#log.children.length > kept) this.#log.lastElementChild.remove();
    this.draw();
  }

  // draw is to be called every second.
  draw() {
    const now = Date.now(), last = Math.floor(now / 1000);
    for (const second of this.#bins.keys()) if (second <= last - span) this.#bins.delete(second);
    const most = Math.max(10, ...[...this.#bins.values()].map((bin) => bin.answered + bin.failed));
    this.#seconds.forEach(({ answered, failed }, i) => {
      const bin = this.#bins.get(last - span + 1 + i) ?? { answered: 0, failed: 0 };
      answered.style.height = `${(100 * bin.answered) / most}%`;
      failed.style.height = `${(100 * bin.failed) / most}%`;
    });
    this.#cuts = this.#cuts.filter((cut) => this.#drawCut(cut, now));
    const total = this.#within(now - span * 1000, now);
    this.#root.ariaLabel = `Last two minutes: ${total.answered} requests answered, ${total.failed} failed, ${this.#cuts.length} cut-overs`;
  }

  // #drawCut reports whether the cut-over is still on the strip.
  #drawCut(cut, now) {
    const begin = (Math.floor(now / 1000) - span + 1) * 1000;
    if (cut.at < begin) {
      cut.mark.remove();
      return false;
    }
    const left = Math.max(0, (cut.since - begin) / (span * 10)), right = (cut.at - begin) / (span * 10);
    cut.mark.style.left = `${left}%`;
    cut.mark.style.width = `${right - left}%`;
    cut.mark.classList.toggle("early", right < 12);
    if (now <= cut.at + around + 2000) {
      const { answered, failed } = this.#within(cut.since - around, cut.at + around);
      cut.line.textContent = `${cut.text}; within 5 s of it ${answered + failed} requests, ${failed} failed`;
      cut.mark.dataset.requests = answered + failed;
    }
    return true;
  }

  #within(from, to) {
    const sum = { answered: 0, failed: 0 };
    for (const [second, bin] of this.#bins) {
      if (second * 1000 < from || second * 1000 > to) continue;
      sum.answered += bin.answered;
      sum.failed += bin.failed;
    }
    return sum;
  }
}
