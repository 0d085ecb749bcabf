import { isMainThread } from 'node:worker_threads'
import { LevelEngine } from '../../storage/level_engine.js'
import { MemoryEngine } from '../../storage/memory_engine.js'
import { delayEngineClass } from './delayed_engine.js'
import { engineSeed } from './engine_mode.js'
import { Random } from './random.js'

/**
 * Delays all engines of a process that imports this file, and of the processes that it starts. Threads of clients have no
 * engines.
 */
if (isMainThread) {
  const random = new Random(engineSeed())
  delayEngineClass(LevelEngine.prototype, random)
  delayEngineClass(MemoryEngine.prototype, random)
  const option = `--import=${import.meta.url}`
  const options = process.env.NODE_OPTIONS ?? ''
  if (!options.includes(option)) process.env.NODE_OPTIONS = `${options} ${option}`.trim()
}
