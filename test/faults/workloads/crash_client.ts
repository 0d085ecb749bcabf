import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connect } from '../../../client/index.js'
import type { TestContext } from '../../helpers/suite.js'

/** A client for a broker that crashes again and again: it reconnects within 50 ms, and ends with the round. */
export async function crashClient(context: TestContext, server: string): Promise<Client> {
  const client = await connect({ servers: server, reconnect: { initialMs: 10, maxMs: 50 } })
  context.defer(() => client.close({ timeoutMs: 0 }))
  return client
}

/** Waits for `ms`, or until `signal` aborts. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error
  })
}
