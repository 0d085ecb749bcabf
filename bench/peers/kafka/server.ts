import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Durability } from '../../lib/contender.js'
import { freePort, type ServerCommand, type ServerPlace, ServerProcess } from '../lib/server_process.js'
import { jarFolder } from './jars.js'

const mebibyte = 1024 * 1024
const formatMsMax = 30_000
const startMsMax = 60_000
const stopMsMax = 20_000

/** What bin/kafka-run-class.sh gives every Java of Kafka. */
const jvmOptions = [
  '-server',
  '-XX:+UseG1GC',
  '-XX:MaxGCPauseMillis=20',
  '-XX:InitiatingHeapOccupancyPercent=35',
  '-XX:+ExplicitGCInvokesConcurrent',
  '-Djava.awt.headless=true',
]

/** What bin/kafka-server-start.sh gives the server. */
const serverHeap = ['-Xmx1G', '-Xms1G']

/** The arguments of `java` for a class of Kafka. */
export function javaArguments(heap: readonly string[], mainClass: string, args: readonly string[]): string[] {
  return [...heap, ...jvmOptions, '-cp', join(jarFolder(), '*'), mainClass, ...args]
}

/** Starts one node that is broker and controller. @throws Error when it doesn't serve within a minute */
export function startKafka(dataRoot: string, durability: Durability): Promise<ServerProcess> {
  const command = (place: ServerPlace): Promise<ServerCommand> => formatted(place, durability)
  return ServerProcess.start({ name: 'kafka', dataRoot, command, startMsMax, stopMsMax })
}

/** Writes the configuration, formats the storage as KRaft demands, and says how to start the server. */
async function formatted({ folder, port }: ServerPlace, durability: Durability): Promise<ServerCommand> {
  const path = join(folder, 'server.properties')
  const controllerPort = await freePort()
  await writeFile(path, properties({ folder, port, controllerPort, durability }))
  // Not one that begins with a dash, which the tool would take for an option.
  const cluster = `m${randomBytes(16).toString('base64url').slice(1)}`
  const format = ['format', '--cluster-id', cluster, '--config', path]
  await promisify(execFile)('java', javaArguments([], 'kafka.tools.StorageTool', format), {
    timeout: formatMsMax,
  })
  return { program: 'java', args: javaArguments(serverHeap, 'kafka.Kafka', [path]) }
}

interface PropertiesOptions extends ServerPlace {
  readonly controllerPort: number
  readonly durability: Durability
}

/** config/server.properties of the distribution, for one node on this machine. */
function properties({ folder, port, controllerPort, durability }: PropertiesOptions): string {
  const lines = [
    'process.roles=broker,controller',
    'node.id=1',
    `controller.quorum.voters=1@127.0.0.1:${controllerPort}`,
    `listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    `advertised.listeners=PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names=CONTROLLER',
    'listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
    'inter.broker.listener.name=PLAINTEXT',
    `log.dirs=${join(folder, 'data')}`,
    'offsets.topic.replication.factor=1',
    'transaction.state.log.replication.factor=1',
    'transaction.state.log.min.isr=1',
    'group.initial.rebalance.delay.ms=0',
    'auto.create.topics.enable=false',
    `message.max.bytes=${8 * mebibyte}`,
    // What a run wrote is gone before the next one ends.
    'log.segment.delete.delay.ms=1000',
  ]
  if (durability === 'fsync') lines.push('log.flush.interval.messages=1')
  return `${lines.join('\n')}\n`
}
