export function Swarm({ store }) {
  return <pre>{JSON.stringify(store.state.swarm, null, 1)}</pre>;
}
