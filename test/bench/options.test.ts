import type { Command } from 'commander'
import * as assert from 'uvu/assert'
import { benchCommand, chooseScenarios, chosenContenders } from '../../bench/lib/options.js'
import type { Scenario } from '../../bench/lib/scenario.js'
import { suite } from '../helpers/suite.js'

const test = suite('bench/options')

const scenarios: readonly Scenario[] = [
  { name: 'publish', summary: 'publishes', byDefault: true, run: async () => {} },
  {
    name: 'peers',
    summary: 'compares',
    byDefault: false,
    contenders: ['millrace', 'redis', 'redis-fsync'],
    run: async () => {},
  },
]

test('runs the scenarios that are named, in their order, or those that run by default', () => {
  const names = (chosen: readonly Scenario[]) => chosen.map(({ name }) => name)
  assert.equal(names(chooseScenarios(parse('peers', 'publish').args, scenarios)), ['peers', 'publish'])
  assert.equal(names(chooseScenarios([], scenarios)), ['publish'])
})

test('chooses contenders by their ids', () => {
  assert.equal(chosenContenders(parse('peers', '--contenders', 'redis, millrace').opts()), [
    'redis',
    'millrace',
  ])
  assert.equal(chosenContenders(parse('--only-millrace').opts()), ['millrace', 'pipe'])
  assert.is(chosenContenders(parse().opts()), undefined)
})

test('suggests the nearest name for an unknown one, and refuses contradicting options', () => {
  const wrong: [args: string[], message: RegExp][] = [
    [['publsh'], /No scenario is named "publsh", expected one of publish, peers; did you mean "publish"\?/],
    [['--contenders', 'redis,rediss-fsync'], /No contender is named "rediss-fsync".*mean "redis-fsync"\?/],
    [['--only-millrace', '--contenders', 'redis'], /cannot be used with/],
    [['--runs', '0'], /expected a whole number from 1/],
  ]
  for (const [args, message] of wrong) assert.throws(() => parse(...args), message)
})

function parse(...args: readonly string[]): Command {
  return benchCommand(scenarios)
    .configureOutput({ writeErr: () => {} })
    .parse(args as string[], { from: 'user' })
}

test.run()
