import { Command } from 'commander'
import { type Mutant, mutants } from './mutants.js'
import { checkTexts, Workshop } from './workshop.js'

/** `npm run mutants`: plants faults into a copy of the sources, one by one, and says which ones the tests notice. */
async function main(): Promise<number> {
  const program = new Command('mutants')
    .description('Plants faults into a copy of the sources, one by one; the tests of their areas must fail.')
    .argument('[mutant...]', 'which (default: all)')
    .option('--list', 'list the mutants and exit')
    .option('--output', 'also print what the compiler and the tests printed')
    .parse()
  const { list, output: showOutput } = program.opts<{ list?: true; output?: true }>()
  if (list) {
    for (const { name, file, why } of mutants) console.log(`${name.padEnd(32)} ${file}: ${why}`)
    return 0
  }
  const chosen = program.args.length === 0 ? mutants : program.args.map((name) => find(program, name))
  await checkTexts(chosen)
  const workshop = await Workshop.open()
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => void workshop.close().finally(() => process.exit(2)))
  try {
    await workshop.checkTests([...new Set(chosen.flatMap(({ areas }) => areas))])
    let missed = 0
    for (const mutant of chosen) {
      const { outcome, seconds, output } = await workshop.try(mutant)
      if (outcome !== 'killed') missed++
      console.log(`${outcome.padEnd(14)} ${mutant.name.padEnd(32)} ${seconds.toFixed(0)} s`)
      if (outcome === 'survived')
        console.log(`  no test of ${mutant.areas.join(', ')} notices it: ${mutant.why}`)
      if (showOutput || outcome === 'does not build') console.log(output)
    }
    console.log(`${chosen.length - missed} of ${chosen.length} killed`)
    return missed === 0 ? 0 : 1
  } finally {
    await workshop.close()
  }
}

function find(program: Command, name: string): Mutant {
  const mutant = mutants.find((one) => one.name === name)
  return mutant ?? program.error(`unknown mutant ${name}; there are ${mutants.map((m) => m.name).join(', ')}`)
}

try {
  process.exitCode = await main()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 2
}
