import type { Scenario } from '../lib/scenario.js'
import { connectionsScenario } from './connections.js'
import { consumeScenario } from './consume.js'
import { delayedScenario } from './delayed.js'
import { diskScenario } from './disk.js'
import { endToEndScenario } from './end_to_end.js'
import { fanOutScenario } from './fan_out.js'
import { idleScenario } from './idle.js'
import { latencyScenario } from './latency.js'
import { microScenario } from './micro.js'
import { peersScenario } from './peers.js'
import { pipeScenario } from './pipe.js'
import { publishScenario } from './publish.js'
import { sizeScenario } from './size.js'
import { startUpScenario } from './start_up.js'
import { workScenario } from './work.js'
import { writtenBytesScenario } from './written_bytes.js'

/** All scenarios, in the order in which they run. */
export const scenarios: readonly Scenario[] = [
  diskScenario,
  pipeScenario,
  publishScenario,
  consumeScenario,
  endToEndScenario,
  fanOutScenario,
  workScenario,
  delayedScenario,
  latencyScenario,
  connectionsScenario,
  idleScenario,
  startUpScenario,
  writtenBytesScenario,
  microScenario,
  peersScenario,
  sizeScenario,
]
