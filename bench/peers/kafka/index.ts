import type { Contender, Durability, Missing, RunningContender } from '../../lib/contender.js'
import { clientScript, clientVersion, missingClient } from '../lib/clients.js'
import { PeerWorkers } from '../lib/peer_workers.js'
import { javaVersion, kafkaVersion, missingKafka } from './jars.js'
import { startKafka } from './server.js'
import { endToEndWithTools, publishWithTools, type ToolsOptions } from './tools.js'
import { kafkaTopics } from './topics.js'
import { warmedUp } from './warm_up.js'

const serverSettings: readonly string[] = [
  'one node in KRaft mode, broker and controller in one, with config/server.properties of the distribution',
  'the heap and the collector of bin/kafka-server-start.sh: -Xmx1G -Xms1G, G1 with pauses of 20 ms',
  'topics of 8 partitions, as Millrace has; one replica; no compression',
  'at least 8 s of warm-up, with the tools after their first report: the compilers of the JVMs are done by then',
  'message.max.bytes 8 MiB, as 1 MiB of value does not fit the default; deleted segments are removed after 1 s',
]

const durabilitySettings: Readonly<Record<Durability, string>> = {
  default:
    'no flush settings, as its documents advise (kafka.apache.org/documentation/#appvsosflush): what is acknowledged is in the page cache; strace shows 3 fsync/s, of checkpoints, whatever is published',
  fsync:
    'log.flush.interval.messages=1: each append is flushed before it is acknowledged; strace shows 146 fsync/s of the log and twice as many msync of its indexes, for 304,000 messages/s: one for each batch of 256 KiB',
}

const toolSettings: readonly string[] = [
  'kafka-producer-perf-test and kafka-consumer-perf-test, with the heap of their scripts (-Xmx512M); acks=all and idempotence, as they come',
  'batch.size 256 KiB, linger.ms 10, buffer.memory 64 MiB, max.request.size 8 MiB: larger batches for throughput (kafka.apache.org/documentation/#producerconfigs); batches of 16 KiB gave a third, those of 1 MB half',
  '--payload-file instead of --record-size, which makes random letters for each record at its own cost',
  'consumer: fetch.min.bytes 64 KiB, fetch.max.wait.ms 10, max.poll.records 5000; --fetch-size 1 MiB and the socket buffer of 2 MiB as they come',
  'counted in the reports of the tools, every 100 ms: records that were acknowledged to the producer, records that the consumer received',
]

const jsSettings: readonly string[] = [
  '@platformatic/kafka 1.x, the newest for Node.js 20; acks all',
  'publish: 8 calls of send in flight, each one batch of up to 2,000 messages or 256 KiB for one partition, in turn',
  'consume: a group with a stream, fetches of up to 16 MiB, at most 10 ms of waiting; commits every second',
  'latency: one send for each message (no linger), fetches with minBytes 1',
]

/** Kafka as it comes, with its own tools. */
export const kafka = toolContender('kafka', 'default')
/** Kafka that flushes before it acknowledges, with its own tools. */
export const kafkaFsync = toolContender('kafka-fsync', 'fsync')
/** Kafka as it comes, with a client in JavaScript. */
export const kafkaJs = jsContender('kafka-js', 'default')
/** Kafka that flushes before it acknowledges, with a client in JavaScript. */
export const kafkaJsFsync = jsContender('kafka-js-fsync', 'fsync')

function toolContender(id: string, durability: Durability): Contender {
  return {
    id,
    system: 'Apache Kafka, Java tools',
    durability,
    settings: [...serverSettings, durabilitySettings[durability], ...toolSettings],
    kinds: ['publish', 'endToEnd'],
    missing,
    versions: serverVersions,
    start: (dataRoot) => startWithTools(dataRoot, durability),
  }
}

function jsContender(id: string, durability: Durability): Contender {
  return {
    id,
    system: 'Apache Kafka, @platformatic/kafka',
    durability,
    settings: [...serverSettings, durabilitySettings[durability], ...jsSettings],
    kinds: ['publish', 'endToEnd', 'latency'],
    missing,
    versions: async () => ({
      ...(await serverVersions()),
      '@platformatic/kafka': await clientVersion('@platformatic/kafka'),
      node: process.versions.node,
    }),
    start: (dataRoot) => startWithWorkers(dataRoot, durability),
  }
}

async function startWithTools(dataRoot: string, durability: Durability): Promise<RunningContender> {
  const { ensureTopic, removeTopic } = await kafkaTopics()
  const server = await startKafka(dataRoot, durability)
  let topics = 0
  const withTopic = async <T>(use: (options: ToolsOptions) => Promise<T>): Promise<T> => {
    const topic = `bench-${++topics}`
    await ensureTopic(server.port, topic)
    const result = await use({ server, dataRoot, topic })
    await removeTopic(server.port, topic)
    return result
  }
  return {
    get pids() {
      return server.pids
    },
    publish: (work) => withTopic((options) => publishWithTools(options, warmedUp(work))),
    endToEnd: (work) => withTopic((options) => endToEndWithTools(options, warmedUp(work))),
    stop: () => server.stop(),
  }
}

async function startWithWorkers(dataRoot: string, durability: Durability): Promise<RunningContender> {
  const server = await startKafka(dataRoot, durability)
  const workers = new PeerWorkers({
    publisher: clientScript('kafka/publisher.js'),
    consumer: clientScript('kafka/consumer.js'),
    server,
    durability,
  })
  return {
    get pids() {
      return server.pids
    },
    publish: (work) => workers.publish(warmedUp(work)),
    endToEnd: (work) => workers.endToEnd(warmedUp(work)),
    latency: (work) => workers.latency(warmedUp(work)),
    stop: () => server.stop(),
  }
}

/** The tools need the client, too: it creates and removes the topics. */
async function missing(): Promise<Missing | undefined> {
  return (await missingKafka()) ?? missingClient('@platformatic/kafka', 'kafka/topics.js')
}

async function serverVersions(): Promise<Readonly<Record<string, string>>> {
  return { kafka: kafkaVersion(), java: (await javaVersion()) ?? 'unknown' }
}
