import { deepStrictEqual, ok } from 'node:assert/strict'
import { suite } from '../../helpers/suite.js'
import { checkHistory } from './checker.js'
import { checks } from './checks.js'
import { modelHistory } from './model_history.js'
import { MutableHistory } from './mutable_history.js'
import { mutations } from './mutations.js'

const test = suite('faults/history: properties')

const histories = 300
const mutatedMin = 10

test(
  'histories of a broker that keeps its promises pass',
  ({ random }) => {
    const rng = random()
    let passed = 0
    for (let i = 0; i < histories; i++) {
      const events = modelHistory(rng, rng.int(50, 1_500))
      const { verdict, findings } = checkHistory(events)
      deepStrictEqual(findings, [], `history ${i}`)
      if (verdict === 'passed') passed++
    }
    ok(passed > histories * 0.8, `only ${passed} of ${histories} are long enough to prove something`)
  },
  { deadlineMs: 60_000 },
)

for (const { name, check, apply } of mutations) {
  test(
    `${name}: ${check}`,
    ({ random }) => {
      const rng = random()
      let mutated = 0
      for (let i = 0; i < histories && mutated < mutatedMin; i++) {
        const history = new MutableHistory(modelHistory(rng, rng.int(200, 1_500)), rng)
        const events = apply(history)
        if (events === undefined) continue
        mutated++
        const { findingsByCheck } = checkHistory(events)
        const fired = checks
          .filter((candidate) => (findingsByCheck[candidate.name] ?? 0) > 0)
          .map((fires) => fires.name)
        ok(fired.includes(check), `history ${i}: ${fired.length === 0 ? 'nothing' : fired.join(', ')} fired`)
      }
      deepStrictEqual(mutated, mutatedMin)
    },
    { deadlineMs: 60_000 },
  )
}

test('every check has its mutation', () => {
  const covered = new Set(mutations.map(({ check }) => check))
  deepStrictEqual(
    checks.filter(({ name }) => !covered.has(name)),
    [],
  )
})

test.run()
