// Sliders beside the number fields that have marks. The number is what is sent, so that the page works without this.
"use strict";
(() => {
  const nearest = (marks, value) => {
    let best = 0;
    marks.forEach((mark, i) => {
      if (Math.abs(Math.log(mark / value)) < Math.abs(Math.log(marks[best] / value))) best = i;
    });
    return best;
  };
  for (const number of document.querySelectorAll("input[data-marks]")) {
    const marks = number.dataset.marks.split(",").map(Number);
    const slider = document.createElement("input");
    const label = document.querySelector(`label[for="${number.id}"]`).textContent;
    Object.assign(slider, { type: "range", min: 0, max: marks.length - 1, step: 1, className: "slider" });
    slider.setAttribute("aria-label", `${label}, slider`);
    const show = () => {
      const value = Number(number.value || number.placeholder) || marks[0];
      slider.value = nearest(marks, value);
      slider.setAttribute("aria-valuetext", number.value || "not said");
    };
    slider.addEventListener("input", () => {
      number.value = marks[Number(slider.value)];
      slider.setAttribute("aria-valuetext", number.value);
      number.dispatchEvent(new CustomEvent("redraw", { bubbles: true }));
    });
    // the redraw has asked already
    slider.addEventListener("change", (event) => event.stopPropagation());
    number.addEventListener("input", show);
    show();
    number.after(slider);
  }
  // on a phone the answer lies below the form
  document.getElementById("question")?.addEventListener("submit", () => document.getElementById("answer").scrollIntoView());
  // an empty field needs no place in an address
  document.addEventListener("htmx:configRequest", (event) => {
    const parameters = event.detail.parameters;
    for (const name of [...parameters.keys()]) if (parameters.get(name) === "") parameters.delete(name);
  });
})();
