/**
 * A service that shuts down without losing or repeating work: a worker that bills orders and publishes receipts, a
 * consumer that counts the receipts, and the HTTP endpoint that Kubernetes asks whether the service is ready.
 *
 *     node dist/examples/service.js [SERVER]
 *
 * It prints a line for each order that it begins and ends with, and for each step of the shutdown.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, defineTopic, json } from 'millrace'

const [server = 'localhost:7420'] = process.argv.slice(2)
const orders = defineTopic('orders', { value: json<{ id: number }>() })
const receipts = defineTopic('receipts', { value: json<{ order: number }>() })

// 1. Notice the request to stop. A second one ends the process at once.
const shutdown = new AbortController()
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.on(signal, () => {
    if (shutdown.signal.aborted) process.exit(1)
    shutdown.abort()
  })

// Less than terminationGracePeriodSeconds of Kubernetes (30 s), minus the pause of step 2. The signal does not go to
// connect: there it would end the connection at once. The worker has less time than the client, so that it can give back
// what its handlers have not finished.
const client = await connect({ servers: server, closeTimeoutMs: 20_000 })
await client.topics.ensure('orders')
await client.topics.ensure('receipts')

const worker = client.work(
  orders,
  { group: 'billing', concurrency: 5, closeTimeoutMs: 15_000 },
  async ({ value }) => {
    console.log(`began ${value.id}`)
    await sleep(50) // the work
    await client.publish(receipts, { value: { order: value.id } })
    console.log(`ended ${value.id}`)
  },
)
await worker.ready

let counted = 0
const counting = client
  .consume(receipts, { group: 'counting', from: 'earliest' })
  .run(() => void counted++, { concurrency: 5 })

const health = createServer((_request, response) => {
  response.writeHead(shutdown.signal.aborted || !client.isConnected ? 503 : 200).end()
})
await once(health.listen(0), 'listening')
console.log(`ready on port ${(health.address() as AddressInfo).port}`)

await Promise.race([once(shutdown.signal, 'abort'), worker.closed, counting])

// 2. A service with HTTP requests of its own first waits until Kubernetes sends no more of them: readiness fails from here on.
console.log('stopping')
await sleep(Number(process.env.DRAIN_MS ?? 0))

// 3. Take no more messages, let handlers finish, send what they have published, commit, leave the groups, disconnect.
await client.close()
await counting
health.close()
console.log(`stopped after ${counted} receipts`)
