export function Machines({ store }) {
  return <pre>{JSON.stringify(store.state.machines, null, 1)}</pre>;
}
