import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * Loaded into a broker before it starts (`node --import`): collects garbage at SIGUSR2, so that measured growth of
 * memory
 * is held memory, and not garbage.
 */
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

process.on('SIGUSR2', () => collect())
