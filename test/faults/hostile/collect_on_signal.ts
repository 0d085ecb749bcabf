import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * Loaded into a broker before it starts (`node --import`): collects garbage at SIGUSR2, so that what its memory is said
 * to have grown by is held, and not merely waiting for the collector.
 */
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

process.on('SIGUSR2', () => collect())
