import * as assert from 'uvu/assert'
import { TurnBudget } from '../../broker/turn_budget.js'
import { suite } from '../helpers/suite.js'

const test = suite('broker/turn_budget')

test('work over the limit waits for the next turns, one limit in each', async () => {
  const budget = new TurnBudget(100)
  let turn = 0
  const turns: number[] = []
  const work = async (): Promise<void> => {
    while (budget.isUsedUp) await budget.next()
    budget.add(50)
    turns.push(turn)
  }
  const ticking = setImmediate(function tick() {
    turn++
    if (turns.length < 6) setImmediate(tick)
  })
  await Promise.all(Array.from({ length: 6 }, work))
  clearImmediate(ticking)
  assert.is(new Set(turns).size, 3)
  for (const one of turns) assert.is(turns.filter((other) => other === one).length, 2)
})

test('a single item that is larger than the limit gets a turn alone', async () => {
  const budget = new TurnBudget(100)
  budget.add(1_000)
  assert.is(budget.isUsedUp, true)
  await budget.next()
  assert.is(budget.isUsedUp, false)
})

test.run()
