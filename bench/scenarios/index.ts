import type { Scenario } from '../lib/scenario.js'
import { diskScenario } from './disk.js'
import { pipeScenario } from './pipe.js'

/** All scenarios, in the order in which they run. */
export const scenarios: readonly Scenario[] = [diskScenario, pipeScenario]
