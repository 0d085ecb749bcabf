import * as assert from 'uvu/assert'
import { ConnectionLanes } from '../../../broker/net/connection_lanes.js'
import { isMillraceError } from '../../../protocol/index.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/net/connection_lanes')

const minuteMs = 60_000

class SessionDouble {
  isReplaced = false
  #callback: (() => void) | undefined

  replace(): void {
    this.isReplaced = true
    this.close()
  }

  onClose(callback: () => void): () => void {
    this.#callback = callback
    return () => {}
  }

  close(): void {
    this.#callback?.()
    this.#callback = undefined
  }
}

function entered(lanes: ConnectionLanes, number: number, lane = 'control', client = 'a'): SessionDouble {
  const session = new SessionDouble()
  lanes.enter(session, { client, lane, number })
  return session
}

function isStale(error: unknown): boolean {
  return isMillraceError(error, 'STALE_CONNECTION')
}

test('a newer connection replaces the one before, on its own lane only', () => {
  const lanes = new ConnectionLanes()
  const first = entered(lanes, 1)
  const others = [
    entered(lanes, 1, 'fetch'),
    entered(lanes, 1, 'control', 'b'),
    entered(lanes, 1, 'b', 'acontrol'),
  ]
  const second = entered(lanes, 2)
  assert.ok(first.isReplaced)
  assert.not(second.isReplaced)
  for (const other of others) assert.not(other.isReplaced)
  assert.is(lanes.size, 4)
})

test('an older connection and a second one with the same number are refused', () => {
  const lanes = new ConnectionLanes()
  const newest = entered(lanes, 5)
  assert.throws(() => entered(lanes, 4), isStale)
  assert.throws(() => entered(lanes, 5), isStale)
  assert.not(newest.isReplaced)
})

test('the number of a lane outlives its last connection by 15 minutes', () => {
  let nowMs = 0
  const lanes = new ConnectionLanes(() => nowMs)
  entered(lanes, 1)
  const last = entered(lanes, 2)
  nowMs = 100 * minuteMs
  assert.throws(() => entered(lanes, 1), isStale)
  last.close()
  nowMs += 15 * minuteMs
  assert.throws(() => entered(lanes, 2), isStale)
  nowMs += 1
  entered(lanes, 1)
  assert.is(lanes.size, 1)
})

test('of the lanes without a connection it keeps those that ended last', () => {
  const lanes = new ConnectionLanes(() => 0, 2)
  const sessions = ['x', 'y', 'z'].map((client) => entered(lanes, 7, 'control', client))
  for (const session of sessions) session.close()
  assert.is(lanes.size, 2)
  assert.throws(() => entered(lanes, 6, 'control', 'z'), isStale)
  assert.throws(() => entered(lanes, 6, 'control', 'y'), isStale)
  entered(lanes, 6, 'control', 'x')
})

test.run()
