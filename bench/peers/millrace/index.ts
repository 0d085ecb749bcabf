import { fileURLToPath } from 'node:url'
import type { Contender } from '../../lib/contender.js'
import { runningPeer } from '../lib/running_peer.js'
import { ServerProcess } from '../lib/server_process.js'

/** As users start it. */
const commandLine = fileURLToPath(new URL('../../../cli/main.cjs', import.meta.url))

const publisher = new URL('./publisher.js', import.meta.url)
/** Of a queue group. */
const messagesPerSMax = 700_000
const messageIdsMax = 4_000_000

/** Millrace as it comes: through its command line and its SDK, and measured in the same way as the peers. */
export const millraceContender: Contender = {
  id: 'millrace',
  system: 'Millrace',
  durability: 'fsync',
  settings: [
    'everything as it comes: synced before the acknowledgement',
    'topics of 8 partitions, messages without a key, no compression',
    'publisher: publishMany, 8 calls of 2 MiB unacknowledged at a time; consumer: a group, batches(), each acknowledged',
    'latency: publish for each message; received one by one in a group, each acknowledged',
    'work: a queue group without order, prefetch 4 times the concurrency; counts confirmed acknowledgements',
    'delayed: publishMany with deliverAt, received by a consumer without a group; messageIdsMax 4,000,000, a limit that a million messages armed at once exceed as it comes',
  ],
  kinds: ['publish', 'endToEnd', 'latency', 'work', 'delayed'],
  missing: async () => undefined,
  versions: async () => ({ node: process.versions.node }),
  start: async (dataRoot) => {
    const server = await ServerProcess.start({
      name: 'millrace',
      dataRoot,
      command: ({ folder, port }) => ({
        program: process.execPath,
        args: [commandLine, 'serve', '--data', `${folder}/data`, '--port', String(port)],
        env: { ...withoutSettings(), MILLRACE_MESSAGE_IDS_MAX: String(messageIdsMax) },
      }),
    })
    return runningPeer(server, {
      durability: 'fsync',
      stream: { publisher, consumer: new URL('./consumer.js', import.meta.url) },
      queue: { publisher, worker: new URL('../../sdk/worker.js', import.meta.url), messagesPerSMax },
      delayer: { script: new URL('./delayer.js', import.meta.url) },
    })
  },
}

/** Takes all settings of Millrace out of the environment. */
function withoutSettings(): Readonly<Record<string, undefined>> {
  const names = Object.keys(process.env).filter((name) => name.startsWith('MILLRACE_'))
  return Object.fromEntries(names.map((name) => [name, undefined]))
}
