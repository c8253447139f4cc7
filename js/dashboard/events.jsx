export function Events({ store }) {
  return <pre>{JSON.stringify(store.state.events, null, 1)}</pre>;
}
