/**
 * A worker process for a test: its handler blocks the event loop for longer than its lease. The broker of the test is
 * in
 * another process, so that it can end the lease in that time.
 *
 *     node busy_worker.js SERVER
 *
 * Lines on stdout: `begun ATTEMPT`, `settled OUTCOME`, and `lost` when a lease was lost.
 */
import { connect, defineTopic, isMillraceError, string } from '../../client/index.js'

const leaseMs = 1_000
const busyMs = 3_500

const client = await connect({ servers: process.argv[2] ?? '' })
client.work(
  defineTopic('tasks', { value: string }),
  {
    group: 'crew',
    leaseMs,
    onSettled: (_, outcome) => console.log(`settled ${outcome}`),
    onError: (error) => {
      if (isMillraceError(error, 'LEASE_LOST')) console.log('lost')
    },
  },
  ({ attempt }) => {
    console.log(`begun ${attempt}`)
    for (const untilMs = performance.now() + busyMs; performance.now() < untilMs; );
  },
)
