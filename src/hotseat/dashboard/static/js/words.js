// What the states and parts mean, in the words of docs/concepts.md, and how each is marked.

export const STATES = {
  seated: { mark: "●", text: "On the GPU: holds its device memory and runs." },
  parked: { mark: "◐", text: "Off the GPU: everything it had is in host memory, every thread is frozen. A request brings it back." },
  stored: { mark: "◒", text: "Off the GPU and out of host memory: its state is on disk." },
  stopped: { mark: "○", text: "Not running at all. A cold start brings it back." },
  "swapping out": { mark: "↘", text: "On its way from seated to parked." },
  "swapping in": { mark: "↗", text: "On its way back to its seat." },
  quarantined: { mark: "✕", text: "A swap failed after the point of no return. It is not swapped again until its container is started anew." },
  paused: { mark: "‖", text: "Paused by someone else: does not run, yet still holds its device memory. hotseat leaves it alone." },
};

export const PARTS = {
  driver: "the driver moves device memory or changes states",
  platform: "the container platform pauses or unpauses",
  engine: "the engine ends what it does, or answers the first probe",
  wait: "the device releases memory late",
  hotseat: "hotseat's own work",
};

export const slug = (state) => state.replaceAll(" ", "-");
