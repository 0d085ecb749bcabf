import type { Contender, Durability, Missing } from '../../lib/contender.js'
import { clientScript, clientVersion, missingClient } from '../lib/clients.js'
import type { PeerQueueClients } from '../lib/queue_workers.js'
import { runningPeer } from '../lib/running_peer.js'
import { workQueue } from './kinds.js'
import { compareVersions, findNats, startNats } from './server.js'

/** The first release with `sync_interval: always`. */
const versionWithSync = '2.10'
/** The first release with schedules. */
const versionWithSchedules = '2.12'
const install = 'go install github.com/nats-io/nats-server/v2@v2.15.2'

/** For the time of a full bench. */
const armedMax = 100_000

const commonSettings = [
  'streams in files, one replica, one subject; everything else as it comes',
  'the newest nats-server in PATH and where "go install" puts it, or that of MILLRACE_BENCH_NATS_SERVER',
  'publish: fast ingest with a server from 2.14 on (allow_batched, acknowledged every 500 messages, or 20 where each is synced; 3 times that unacknowledged, no gaps allowed), three times as fast as the alternative: 400 publishes, each acknowledged by itself, unacknowledged at a time',
  'fast ingest is in @nats-io/jetstream 3.4 but not in its main entry: it is taken from "@nats-io/jetstream/internal"',
  'consumer: pull, consume() with max_messages 5,000, ack policy "all": every 500th message acknowledges those before it (docs.nats.io, "Consumers": AckAll), twice as fast as "explicit"; max_ack_pending 100,000',
  'latency: each message published, and acknowledged, by itself',
] as const

const settingsOf: Readonly<Record<Durability, string>> = {
  default:
    'sync_interval 2m: the default; up to two minutes of acknowledged messages are lost with the machine',
  fsync:
    'sync_interval always: synced before the acknowledgement (docs.nats.io, "JetStream", configuration); strace shows one fsync for each message, also with fast ingest',
}

const queueSettings: readonly string[] = [
  'work: a stream with retention "workqueue", from which a message is gone when it is acknowledged, and one pull consumer with ack policy "explicit"; filled as in publish',
  'work: max_ack_pending 1,000, the default, and consume() with max_messages 1,000: the concurrency; four times as much of both gave no more',
]

const acknowledgedSettings = {
  confirmed:
    'work: ackAck() for each message, which resolves when the server has confirmed the acknowledgement ("double ack", docs.nats.io, "Delivery and acknowledgment")',
  sent: 'work: ack() for each message, which nobody confirms: faster, and a message may come again after the worker was done with it; max_ack_pending bounds how far they are ahead of the server',
} as const

const delayedSetting = `delayed: with a server from 2.12 on, a schedule "@at" for each message (allow_msg_schedules, ADR-51), each on a subject of its own and acknowledged by itself, 400 unacknowledged at a time; no more than ${armedMax.toLocaleString('en')} armed; received by a consumer without acknowledgements`

const publisher = clientScript('nats/publisher.js')
const queueMessagesPerSMax = { confirmed: 60_000, synced: 12_000, sent: 300_000 } as const

const delayer = { script: clientScript('nats/delayer.js'), armedMax }

/** NATS JetStream. */
export const natsContenders: readonly Contender[] = [
  streamContender('nats', 'default'),
  streamContender('nats-fsync', 'fsync'),
  {
    ...common('default', 'sent'),
    id: 'nats-unconfirmed',
    system: 'NATS JetStream, unconfirmed acks',
    kinds: ['work'],
    start: async (dataRoot) =>
      runningPeer(await startNats(dataRoot, 'default'), {
        durability: 'default',
        queue: queueClients('sent', queueMessagesPerSMax.sent),
      }),
  },
]

function streamContender(id: string, durability: Durability): Contender {
  const messagesPerSMax = queueMessagesPerSMax[durability === 'fsync' ? 'synced' : 'confirmed']
  return {
    ...common(durability, 'confirmed'),
    id,
    system: 'NATS JetStream',
    kinds: [
      'publish',
      'endToEnd',
      'latency',
      'work',
      ...(durability === 'default' ? ['delayed' as const] : []),
    ],
    start: async (dataRoot) =>
      runningPeer(await startNats(dataRoot, durability), {
        durability,
        stream: { publisher, consumer: clientScript('nats/consumer.js') },
        queue: queueClients('confirmed', messagesPerSMax),
        ...(durability === 'default' && (await hasSchedules()) ? { delayer } : {}),
      }),
  }
}

type Acknowledged = keyof typeof acknowledgedSettings

function queueClients(acknowledged: Acknowledged, messagesPerSMax: number): PeerQueueClients {
  const worker = clientScript('nats/worker.js')
  const isConfirmed = acknowledged === 'confirmed'
  return { publisher, worker, topicKind: workQueue, messagesPerSMax, isConfirmed }
}

function common(
  durability: Durability,
  acknowledged: Acknowledged,
): Pick<Contender, 'durability' | 'settings' | 'missing' | 'versions'> {
  return {
    durability,
    settings: [
      settingsOf[durability],
      ...commonSettings,
      ...queueSettings,
      acknowledgedSettings[acknowledged],
      ...(durability === 'default' && acknowledged === 'confirmed' ? [delayedSetting] : []),
    ],
    missing: () => missing(durability),
    versions: async () => ({
      'nats-server': (await findNats())?.version ?? 'none',
      '@nats-io/transport-node': await clientVersion('@nats-io/transport-node'),
      '@nats-io/jetstream': await clientVersion('@nats-io/jetstream'),
      node: process.versions.node,
    }),
  }
}

async function hasSchedules(): Promise<boolean> {
  return compareVersions((await findNats())?.version ?? '0', versionWithSchedules) >= 0
}

async function missing(durability: Durability): Promise<Missing | undefined> {
  const nats = await findNats()
  if (nats === undefined) return { reason: 'nats-server is not installed', install }
  if (durability === 'fsync' && compareVersions(nats.version, versionWithSync) < 0)
    return { reason: `nats-server ${nats.version} can't sync before it acknowledges`, install }
  return missingClient('@nats-io/jetstream', 'nats/publisher.js')
}
