import { setImmediate as nextTurn } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { Pacer } from '../../client/pacer.js'
import { suite } from '../helpers/suite.js'

const test = suite('client/pacer')

test('a few continue in each turn, in the order of their requests', async () => {
  const pacer = new Pacer(2)
  const wentOn: number[] = []
  const all = [0, 1, 2, 3, 4].map((n) => pacer.next().then(() => wentOn.push(n)))
  const afterTurns: number[] = []
  for (let turn = 0; turn < 4; turn++) {
    afterTurns.push(wentOn.length)
    await nextTurn()
  }
  await Promise.all(all)
  assert.equal(wentOn, [0, 1, 2, 3, 4])
  for (const [turn, count] of afterTurns.entries())
    assert.ok(count <= turn * 2, `${count} after ${turn} turns`)
})

test('a second request waits behind earlier ones', async () => {
  const pacer = new Pacer(1)
  const wentOn: string[] = []
  const twice = async (name: string) => {
    await pacer.next()
    wentOn.push(name)
    await pacer.next()
    wentOn.push(name)
  }
  await Promise.all([twice('a'), twice('b')])
  assert.equal(wentOn, ['a', 'b', 'a', 'b'])
})

test.run()
