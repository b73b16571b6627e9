/** Small pictures; what they mean is told by the label of the button that they are in. */
const PATHS = {
  plus: "M12 5v14M5 12h14",
  menu: "M4 7h16M4 12h16M4 17h16",
  close: "M6 6l12 12M18 6L6 18",
  search: "M11 18a7 7 0 100-14 7 7 0 000 14zM20 20l-4-4",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  retry: "M4 12a8 8 0 108-8 8.500 8.500 0 00-6 2.500L4 9M4 4v5h5",
  edit: "M4 20h4L19 9l-4-4L4 16v4z",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  check: "M5 12.500l4.500 4.500L19 7",
  branch: "M7 4v16M7 14c0-5 10-2 10-8M17 6l-3 0M17 6l0 0M4.500 4h5M4.500 20h5M14.500 6h5",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  down: "M6 10l6 6 6-6",
  columns: "M4 5h16v14H4zM12 5v14",
  sliders: "M5 4v8M5 16v4M12 4v3M12 11v9M19 4v10M19 18v2M3 14h4M10 9h4M17 16h4",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
  cube: "M12 3l8 4.500v9L12 21l-8-4.500v-9zM4 7.500l8 4.500 8-4.500M12 12v9",
  sun: "M12 16a4 4 0 100-8 4 4 0 000 8zM12 2v2M12 20v2M4.900 4.900l1.400 1.400M17.700 17.700l1.400 1.400M2 12h2M20 12h2M4.900 19.100l1.400-1.400M17.700 6.300l1.400-1.400",
  moon: "M20 14.500A8 8 0 019.500 4 8 8 0 1020 14.500z",
  half: "M12 3a9 9 0 100 18 9 9 0 000-18zM12 3v18M12 7h6M12 12h9M12 17h6",
  keyboard: "M3 7h18v10H3zM7 14h10M7 10.500h.01M11 10.500h.01M15 10.500h.01",
  disk: "M12 4v11M7.500 10.500L12 15l4.500-4.500M5 19.500h14",
  pin: "M9 4h6l-1 6 3 3v2H7v-2l3-3zM12 15v6",
  clip: "M8.500 12.500l6-6a2.800 2.800 0 014 4l-8 8a4.600 4.600 0 01-6.500-6.500L11 5",
  tool: "M14.500 6.500a4 4 0 015-1l-3 3 1 1 3-3a4 4 0 01-5.500 5L8 18.500a2 2 0 11-2.500-2.500l7-7a4 4 0 012-2.500z",
} as const;

export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="8" />
      <path d="M9 9h14a4.500 4.500 0 0 1-4.500 4.500H17v3.200l3.500 4.300v2H9.500v-2l3.500-4.300v-3.200A4.500 4.500 0 0 1 9 9z" />
    </svg>
  );
}
