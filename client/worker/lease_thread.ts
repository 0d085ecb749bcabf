import { parentPort } from 'node:worker_threads'
import { type FromLeaseThread, keepLeases, type LeaseKeeping, type ToLeaseThread } from './lease_keeping.js'

// The entry point of the lease thread: see LeaseHost.
if (parentPort !== null) {
  const port = parentPort
  const keepings = new Map<number, LeaseKeeping>()
  const send = (message: FromLeaseThread): void => port.postMessage(message)
  port.on('message', (message: ToLeaseThread) => {
    const { worker } = message
    if ('open' in message) {
      const keeping = keepLeases(message.open, (report) => send({ worker, report }))
      keepings.set(worker, keeping)
    } else if ('message' in message) keepings.get(worker)?.receive(message.message)
    else {
      keepings.get(worker)?.end()
      keepings.delete(worker)
      send({ worker, closed: true })
    }
  })
  send({ started: true })
}
