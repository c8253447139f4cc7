export function Processes({ store }) {
  return <pre>{JSON.stringify(store.state.processes, null, 1)}</pre>;
}
