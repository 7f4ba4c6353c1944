// A colour for each service: the same on every view for as long as the page is open.

const COLOURS = 10;
const places = new Map();

/** Give services their colours, in this order. */
export function know(services) {
  for (const service of services) {
    if (!places.has(service)) places.set(service, places.size % COLOURS);
  }
}

/** The class that sets a service's colour. */
export function colour(service) {
  know([service]);
  return `s${places.get(service)}`;
}
