"use strict";
// The viewer of a page. Nothing is unpacked before its button is pressed, which a page that is nothing but a viewer does.
(function () {
  const root = document.getElementById("viewer");
  const button = document.getElementById("viewer-open");
  if (!root || !button) return;
  root.hidden = false;
  const say = (text) => { document.getElementById("viewer-status").textContent = text; };
  const colours = {
    image: { colormap: "gray" },
    difference: { colormap: "hot", colormapNegative: "electric_blue" },
    spread: { colormap: "inferno" },
    share: { colormap: "viridis" },
  };

  async function unpacked(blob) {
    const start = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
    if (start[0] !== 0x1f || start[1] !== 0x8b) return blob.arrayBuffer();
    return new Response(blob.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }

  function bytes(letters) {
    const text = atob(letters);
    const found = new Uint8Array(text.length);
    for (let k = 0; k < text.length; k += 1) found[k] = text.charCodeAt(k);
    return new Blob([found]);
  }

  async function loadCode() {
    const packed = document.getElementById("niivue-code");
    const script = document.createElement("script");
    if (packed) {
      script.textContent = new TextDecoder().decode(await unpacked(bytes(packed.textContent.trim())));
      document.head.append(script);
      return;
    }
    await new Promise((done, failed) => {
      script.onload = done;
      script.onerror = () => failed(new Error("the viewer's code did not load"));
      script.src = root.dataset.code;
      document.head.append(script);
    });
  }

  async function image(one) {
    const blob = one.data ? bytes(one.data) : await (await fetch(one.url)).blob();
    const [low, high] = one.limits;
    const look = colours[one.kind];
    const isMap = one.kind !== "image";
    // Maps are seen through where they are small.
    const least = one.kind === "difference" ? 0.12 * high : isMap ? low + 0.02 * (high - low) : low;
    return window.niivue.NVImage.new(
      await unpacked(blob), one.name + ".nii", look.colormap, 1, null, least, high, true, 0.02, false, false,
      look.colormapNegative || "", 0, undefined, one.kind === "difference" ? -least : NaN,
      one.kind === "difference" ? -high : NaN,
    );
  }

  function radios(holder, name, choices, chosen, changed) {
    for (const choice of choices) {
      const label = document.createElement("label");
      const input = document.createElement("input");
      input.type = "radio";
      input.name = name;
      input.value = choice.name;
      input.checked = choice.name === chosen;
      input.addEventListener("change", () => changed(choice.name));
      label.append(input, " " + choice.label);
      holder.append(label);
    }
  }

  async function open() {
    button.disabled = true;
    say("Unpacking …");
    const told = JSON.parse(document.getElementById("viewer-volumes").textContent);
    await loadCode();
    const stage = document.getElementById("viewer-stage");
    stage.hidden = false;
    const nv = new window.niivue.Niivue({
      isRadiologicalConvention: true, isOrientationTextVisible: told.oriented,
      backColor: [0.02, 0.02, 0.02, 1], crosshairColor: [1, 0.8, 0.2, 0.7],
      crosshairWidth: 0.6, show3Dcrosshair: true, isNearestInterpolation: true, dragAndDropEnabled: false,
      logLevel: "error", isColorbar: true, loadingText: "",
    });
    const canvas = document.getElementById("viewer-canvas");
    if (!canvas.getContext("webgl2")) throw new Error("this browser shows no WebGL 2");
    await nv.attachToCanvas(canvas);
    const images = new Map();
    for (const one of told.volumes) images.set(one.name, await image(one));
    const state = { below: "reconstruction", above: "none", opacity: 0.7 };

    function draw() {
      const below = images.get(state.below);
      const shown = [below];
      if (state.above !== "none") {
        const above = images.get(state.above);
        above.opacity = state.opacity;
        shown.push(above);
      }
      below.opacity = 1;
      for (const one of images.values()) one.colorbarVisible = shown.includes(one) && one !== below;
      nv.volumes = shown;
      nv.back = below;
      nv.overlays = shown.slice(1);
      nv.updateGLVolume();
    }

    const grey = told.volumes.filter((one) => one.kind === "image");
    const maps = told.volumes.filter((one) => one.kind !== "image");
    radios(document.getElementById("viewer-below"), "below", grey, state.below, (name) => { state.below = name; draw(); });
    radios(document.getElementById("viewer-above"), "above", [{ name: "none", label: "None" }, ...maps], "none",
      (name) => { state.above = name; draw(); });
    const slider = document.getElementById("viewer-opacity");
    slider.addEventListener("input", () => { state.opacity = Number(slider.value); draw(); });
    const types = { multi: 3, axial: 0, coronal: 1, sagittal: 2, render: 4 };
    const planes = document.getElementById("viewer-plane");
    planes.addEventListener("change", () => nv.setSliceType(types[planes.value]));

    function tell(location) {
      const dims = images.get(state.below).dimsRAS || images.get(state.below).dims;
      const place = location.vox || [];
      const values = (location.values || []).map((one) => Number(one.value).toPrecision(4)).join(", ");
      say(`Slice ${Math.round(place[2]) + 1} of ${dims[3]}; value ${values}`);
      root.dataset.slice = String(Math.round(place[2]) + 1);
    }
    nv.onLocationChange = tell;

    document.getElementById("viewer-keys").addEventListener("keydown", (event) => {
      const step = { ArrowUp: [0, 0, 1], ArrowDown: [0, 0, -1], ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0],
        PageUp: [0, 1, 0], PageDown: [0, -1, 0] }[event.key];
      if (step) { nv.moveCrosshairInVox(...step); event.preventDefault(); event.stopPropagation(); }
    }, true);

    const swap = document.getElementById("viewer-swap");
    swap.addEventListener("click", () => {
      const next = grey[(grey.findIndex((one) => one.name === state.below) + 1) % grey.length].name;
      state.below = next;
      for (const input of root.querySelectorAll("input[name=below]")) input.checked = input.value === next;
      draw();
    });

    draw();
    nv.setSliceType(types.multi);
    nv.drawScene();
    button.hidden = true;
    document.getElementById("viewer-keys").focus({ preventScroll: true });
    say("Scroll over a plane to go through its slices; arrow keys and page up or down move the cross.");
    root.dataset.ready = "yes";
  }

  button.addEventListener("click", () => {
    open().catch((error) => {
      document.getElementById("viewer-stage").hidden = true;
      say(`The viewer cannot run here: ${error.message}. The pictures above show the same images.`);
      root.dataset.ready = "no";
    });
  });
  if ("atOnce" in root.dataset) button.click();
})();
