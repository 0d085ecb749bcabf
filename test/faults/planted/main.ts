import { plants } from './plants.js'

/** `millrace` with a planted fault: the first argument names the fault, the others are those of the command. */
const [node = '', script = '', name = '', ...args] = process.argv
const plant = plants.get(name)
if (plant === undefined) throw new Error(`there is no fault "${name}" to plant`)
await plant.plant()
const { run } = await import('../../../cli/program.js')
process.exitCode = await run([node, script, ...args])
