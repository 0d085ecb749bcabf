/**
 * A worker process that a test freezes: one handler at a time, whose first call waits for a line on stdin.
 *
 *     node frozen_worker.js SERVER
 *
 * Lines on stdout: `begun VALUE`, and `lost` when a lease was lost.
 */
import { once } from 'node:events'
import { connect, defineTopic, isMillraceError, string } from '../../client/index.js'

const client = await connect({ servers: process.argv[2] ?? '', reconnect: { initialMs: 5, maxMs: 40 } })
let calls = 0
client.work(
  defineTopic('tasks', { value: string }),
  {
    group: 'crew',
    concurrency: 1,
    prefetch: 10,
    leaseMs: 1_000,
    onError: (error) => {
      if (isMillraceError(error, 'LEASE_LOST')) console.log('lost')
    },
  },
  async ({ value }) => {
    console.log(`begun ${value}`)
    if (calls++ === 0) await once(process.stdin, 'data')
  },
)
