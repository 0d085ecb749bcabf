import type { Contender } from '../../lib/contender.js'
import { runPipe, runPipeLatency } from '../../pipe/pipe.js'

/** The yardstick. The bench restarts it for each kind of work, by its own code. */
export const pipeContender: Contender = {
  id: 'pipe',
  system: 'throw-away pipe',
  durability: 'fsync',
  settings: ['TCP, a checksum, and group commit with fsync to LevelDB for one consumer: nothing else'],
  kinds: ['publish', 'endToEnd', 'latency'],
  missing: async () => undefined,
  versions: async () => ({ node: process.versions.node }),
  start: async (dataRoot) => ({
    pids: [],
    publish: (work) => runPipe({ ...work, promises: false, consume: false, dataRoot }),
    endToEnd: (work) => runPipe({ ...work, promises: false, consume: true, dataRoot }),
    latency: (work) => runPipeLatency({ ...work, dataRoot }),
    stop: async () => {},
  }),
}
