import { parentPort, workerData } from 'node:worker_threads'
import { keepLeases, type LeaseThreadData } from './lease_keeping.js'

// A thread of its own: see LeaseKeeper.
if (parentPort !== null) {
  const port = parentPort
  keepLeases(workerData as LeaseThreadData, {
    post: (report) => port.postMessage(report),
    onMessage: (receive) => port.on('message', receive),
  })
  port.postMessage({ lost: [], started: true })
}
