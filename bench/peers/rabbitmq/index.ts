import { existsSync } from 'node:fs'
import { mkdir, realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Contender, Durability, Missing, RunningContender } from '../../lib/contender.js'
import { clientScript, clientVersion, missingClient } from '../lib/clients.js'
import { findProgram, findPrograms, programOutput } from '../lib/programs.js'
import { runningPeer } from '../lib/running_peer.js'
import { freePort, type ServerCommand, type ServerPlace, ServerProcess } from '../lib/server_process.js'
import type { QueueKind } from './kinds.js'

/** RabbitMQ's own scripts: Debian's of the same name in PATH runs them as another user. */
const scriptFolder = '/usr/lib/rabbitmq/bin'
const startMsMax = 60_000
const stopMsMax = 20_000
const queueMessagesPerSMax = { 'classic-2': 120_000, quorum: 250_000 } as const

const commonSettings: readonly string[] = [
  'one node, no plugins, no configuration: all settings of the server as they come',
  'durable queues, persistent messages, publisher confirms: what its documents call data safety (rabbitmq.com/confirms.html)',
  'one queue per processor, published to in turn: a queue uses no more than one (rabbitmq.com/queues.html, "CPU utilisation"); more queues or a second connection gave no more',
  'amqplib, which was faster than rabbitmq-client: 35,000 against 28,000 messages/s end to end',
  'up to 2,000 messages (16 MiB) not yet confirmed, confirms awaited asynchronously (rabbitmq.com/confirms.html); 500 gave the same, 8,000 less',
  'prefetch 2,000 per consumer; 500 and 8,000 gave no more; one basic.ack with "multiple" for all that one read from the socket brought',
  'work: prefetch 500 for the consumer of each queue, together the concurrency of 1,000 (rabbitmq.com/confirms.html: 100 to 300 usually suffice); 150 gave less, 2,000 no more',
  'work: a basic.ack for each message, which the server does not confirm: counted when it is sent, and the prefetch bounds how far that is ahead of the server; queues in the default mode',
]

const lazy =
  'x-queue-mode lazy for publish, where the queue grows long as nobody consumes (rabbitmq.com/lazy-queues.html); default for end to end and latency'

/** Classic queues in their second version; no sync. */
export const rabbitClassic = contender({
  id: 'rabbitmq-classic',
  durability: 'default',
  kind: 'classic-2',
  settings: [
    'classic queues with x-queue-version 2: faster, and the default of later releases (rabbitmq.com/classic-queues.html)',
    lazy,
    'a confirm says that a message was given to the system: strace shows 2 fsync/s, whatever is published',
  ],
})

/** Classic queues as they come in this release. */
export const rabbitClassicFsync = contender({
  id: 'rabbitmq-classic-fsync',
  durability: 'fsync',
  kind: 'classic-1',
  settings: [
    'classic queues with x-queue-version 1, the default of 3.10',
    lazy,
    'confirms come after an fsync of the index, or the message store, for many messages at once: strace shows 40 to 70 fsync/s for 17,000 to 30,000 messages/s',
  ],
})

/** Quorum queues: Raft with one member. */
export const rabbitQuorum = contender({
  id: 'rabbitmq-quorum',
  durability: 'fsync',
  kind: 'quorum',
  settings: [
    'x-queue-type quorum, one member',
    'confirms come after fdatasync of the write-ahead log of Raft, batched over all queues: strace shows 200 to 250 fdatasync/s for 11,000 to 22,000 messages/s',
  ],
})

interface RabbitOptions {
  readonly id: string
  readonly durability: Durability
  readonly kind: QueueKind
  readonly settings: readonly string[]
}

function contender({ id, durability, kind, settings }: RabbitOptions): Contender {
  return {
    id,
    system: 'RabbitMQ',
    durability,
    settings: [...commonSettings, ...settings],
    kinds:
      kind === 'classic-1' ? ['publish', 'endToEnd', 'latency'] : ['publish', 'endToEnd', 'latency', 'work'],
    missing,
    versions,
    start: (dataRoot) => start(dataRoot, durability, kind),
  }
}

async function start(dataRoot: string, durability: Durability, kind: QueueKind): Promise<RunningContender> {
  const server = await ServerProcess.start({ name: 'rabbitmq', dataRoot, command, startMsMax, stopMsMax })
  const publisher = clientScript('rabbitmq/publisher.js')
  return runningPeer(server, {
    durability,
    stream: { publisher, consumer: clientScript('rabbitmq/consumer.js'), topicKind: kind },
    ...(kind !== 'classic-1' && {
      queue: {
        publisher,
        worker: clientScript('rabbitmq/worker.js'),
        topicKind: kind,
        messagesPerSMax: queueMessagesPerSMax[kind],
      },
    }),
  })
}

/** A node with an epmd of its own, which ends with it as it belongs to its process group. */
async function command({ folder, port }: ServerPlace): Promise<ServerCommand> {
  const [script, epmd] = [await serverScript(), await findProgram('epmd')]
  if (script === undefined || epmd === undefined)
    throw new Error('rabbitmq-server or epmd is no longer installed')
  const [epmdPort, distributionPort] = [String(await freePort()), String(await freePort())]
  const home = join(folder, 'home')
  await mkdir(home)
  const shell = '"$1" -port "$2" -address 127.0.0.1 & exec "$3"'
  return {
    program: '/bin/sh',
    args: ['-c', shell, 'sh', epmd, epmdPort, script],
    env: {
      HOME: home,
      ERL_EPMD_PORT: epmdPort,
      ERL_EPMD_ADDRESS: '127.0.0.1',
      RABBITMQ_NODENAME: 'bench@localhost',
      RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
      RABBITMQ_NODE_PORT: String(port),
      RABBITMQ_DIST_PORT: distributionPort,
      RABBITMQ_MNESIA_BASE: join(folder, 'mnesia'),
      RABBITMQ_LOG_BASE: join(folder, 'log'),
      RABBITMQ_PID_FILE: join(folder, 'pid'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
      // Not those of the machine.
      RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq'),
      RABBITMQ_ADVANCED_CONFIG_FILE: join(folder, 'advanced'),
      RABBITMQ_CONF_ENV_FILE: join(folder, 'rabbitmq-env.conf'),
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}',
    },
  }
}

async function missing(): Promise<Missing | undefined> {
  const install = 'apt-get install rabbitmq-server'
  if ((await serverScript()) === undefined) return { reason: 'rabbitmq-server is not installed', install }
  if ((await findProgram('epmd')) === undefined) return { reason: 'epmd of Erlang is not in PATH', install }
  return missingClient('amqplib', 'rabbitmq/publisher.js')
}

async function versions(): Promise<Readonly<Record<string, string>>> {
  const script = await serverScript()
  const folder = script === undefined ? '' : await realpath(script)
  const release = 'io:put_chars(erlang:system_info(otp_release)), halt().'
  return {
    'rabbitmq-server': /rabbitmq_server-([^/]+)/.exec(folder)?.[1] ?? 'unknown',
    erlang: await programOutput('erl', ['-noshell', '-eval', release]),
    amqplib: await clientVersion('amqplib'),
    node: process.versions.node,
  }
}

async function serverScript(): Promise<string | undefined> {
  for (const script of await findPrograms('rabbitmq-server', [scriptFolder]))
    if (existsSync(join(dirname(script), 'rabbitmq-env'))) return script
  return undefined
}
