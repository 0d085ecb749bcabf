import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../client/index.js'
import { monotonicMs, type Worker } from '../lib/worker.js'
import { type RunningBroker, randomValues, topic } from './sdk.js'

/** Times from the start of the process. */
export interface Restart {
  /** Until a new broker listens. */
  readonly listensMs: number
  /** Until it has answered a client that connected afterwards. */
  readonly answersMs: number
}

const messageBytes = 1024

/** Stops a broker as its users do, and starts another one on its folder. */
export async function restartCleanly(
  running: RunningBroker,
  broker: Worker,
): Promise<{ readonly broker: Worker; readonly restart: Restart }> {
  await broker.stop()
  return restartBroker(running)
}

/** Kills a broker under writes at full speed, and starts another one on its folder. */
export async function restartAfterKill(
  running: RunningBroker,
  broker: Worker,
  loadMs: number,
): Promise<{ readonly broker: Worker; readonly restart: Restart }> {
  const { port, start } = running
  const data = randomValues(messageBytes)
  const publisher = await start('publisher', { port, topic, data, mode: 'bulk' })
  await sleep(loadMs)
  await broker.kill()
  await publisher.kill()
  return restartBroker(running)
}

/** Starts a broker on the folder of one that has ended. */
export async function restartBroker({
  port,
  folder,
  start,
}: RunningBroker): Promise<{ readonly broker: Worker; readonly restart: Restart }> {
  const startedMs = monotonicMs()
  const broker = await start('broker', { folder, port })
  const listensMs = monotonicMs() - startedMs
  const client = await connect({ servers: `127.0.0.1:${port}`, requestTimeoutMs: 120_000 })
  await client.status()
  const answersMs = monotonicMs() - startedMs
  await client.close()
  return { broker, restart: { listensMs, answersMs } }
}
