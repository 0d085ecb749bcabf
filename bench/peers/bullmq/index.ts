import type { Contender, Durability } from '../../lib/contender.js'
import { clientScript, clientVersion, missingClient } from '../lib/clients.js'
import { runningPeer } from '../lib/running_peer.js'
import { missingRedis, redisVersion, startRedis } from '../redis/server.js'

/** More than a worker does; for the time of a full bench a fifth of the delayed messages of others is enough. */
const queueMessagesPerSMax = 30_000
const armedMax = 200_000

const commonSettings = [
  'Redis: appendonly yes, and maxmemory-policy noeviction, which is the default (docs.bullmq.io, "Going to production"); no snapshot and no rewrite of the log in the midst of measuring, in its favour',
  'client: ioredis, which its documents use; a connection for the queue, and what the worker opens itself',
  'jobs are added with addBulk (docs.bullmq.io, "Adding jobs in bulk"), 500 a call, 4 calls unanswered at a time',
  'work: one Worker with concurrency 1,000: for handlers that wait, its documents advise concurrency within a process before more processes (docs.bullmq.io, "Parallelism and Concurrency"); 200 gave less',
  'removeOnComplete count 0: completed jobs are removed at once instead of being kept forever, as in the other queues (docs.bullmq.io, "Auto-removal of jobs")',
  'an acknowledgement: the event "completed", after Redis has answered the script that completes the job and fetches the next',
  `delayed: armed with addBulk as well, no more than ${armedMax.toLocaleString('en')}; received by one Worker with concurrency 1,000`,
] as const

const settingsOf: Readonly<Record<Durability, string>> = {
  default:
    'appendfsync everysec: the default, which its documents call enough for most; up to a second of acknowledgements is lost with the machine',
  fsync: 'appendfsync always: synced before the reply, once for all commands of a turn of the loop of Redis',
}

/** BullMQ on Redis: a queue of jobs, no stream. */
export const bullContenders: readonly Contender[] = [
  bullContender('bullmq', 'default'),
  bullContender('bullmq-fsync', 'fsync'),
]

function bullContender(id: string, durability: Durability): Contender {
  return {
    id,
    system: 'BullMQ on Redis',
    durability,
    settings: [settingsOf[durability], ...commonSettings],
    kinds: ['work', 'delayed'],
    missing: async () => (await missingClient('bullmq', 'bullmq/publisher.js')) ?? missingRedis(),
    versions: async () => ({
      bullmq: await clientVersion('bullmq'),
      ioredis: await clientVersion('ioredis'),
      ...(await redisVersion()),
      node: process.versions.node,
    }),
    start: async (dataRoot) =>
      runningPeer(await startRedis(dataRoot, durability), {
        durability,
        queue: {
          publisher: clientScript('bullmq/publisher.js'),
          worker: clientScript('bullmq/worker.js'),
          messagesPerSMax: queueMessagesPerSMax,
        },
        delayer: { script: clientScript('bullmq/delayer.js'), armedMax },
      }),
  }
}
