import { readdir, readFile } from 'node:fs/promises'
import * as assert from 'uvu/assert'
import type { Contender, RunningContender, WorkKind, Works } from '../../bench/lib/contender.js'
import type { Throughput } from '../../bench/lib/throughput.js'
import type { TestContext } from '../helpers/suite.js'

const work = { messageBytes: 100, warmUpMs: 100, measureMs: 400 }
const allKinds: readonly WorkKind[] = ['publish', 'endToEnd', 'latency', 'work', 'delayed']
/** A finished process stays in the process table until its parent has waited for it. */
const endedStates = ['Z', 'X']

/**
 * Starts a contender, does each kind of work for a moment and checks that nothing is left; skips if it is not
 * installed.
 */
export async function worksAndLeavesNothing(contender: Contender, context: TestContext): Promise<void> {
  const missing = await contender.missing()
  if (missing !== undefined) context.skip(`${missing.reason}: ${missing.install}`)
  for (const [name, version] of Object.entries(await contender.versions()))
    assert.match(version, /^\d+(\.\d+)*/, `version of ${name}`)
  const dataRoot = await context.tempDir()
  const running = await contender.start(dataRoot)
  context.defer(() => running.stop())
  const pids = running.pids
  assert.ok(pids.length > 0)
  // An older server may not support all of them.
  for (const kind of allKinds)
    assert.ok(running[kind] === undefined || contender.kinds.includes(kind), `has ${kind}`)
  assert.ok(contender.kinds.some((kind) => running[kind] !== undefined))
  await doesAllWork(running)
  await running.stop()
  assert.equal(await readdir(dataRoot), [])
  assert.equal(await livingOf(pids), [])
}

async function doesAllWork({
  publish,
  endToEnd,
  latency,
  work: workOn,
  delayed,
}: RunningContender): Promise<void> {
  if (publish !== undefined) await countsSome((measureMs) => publish({ ...work, measureMs }))
  if (endToEnd !== undefined) await countsSome((measureMs) => endToEnd({ ...work, measureMs }))
  if (latency !== undefined) await timesSome(latency)
  if (workOn !== undefined) await countsSome((measureMs) => workOn({ ...work, concurrency: 100, measureMs }))
  if (delayed !== undefined) await delaysAll(delayed)
}

/** On a busy machine a short interval may have no acknowledgement: then the test uses a longer one. */
async function countsSome(measure: (measureMs: number) => Promise<Throughput>): Promise<void> {
  for (let measureMs = work.measureMs; ; measureMs *= 4) {
    const throughput = await measure(measureMs)
    if (throughput.messagesPerS > 0) {
      assert.ok(Math.abs(throughput.mbPerS / (throughput.messagesPerS / 1e4) - 1) < 0.01)
      assert.ok((throughput.rssBytes.server ?? 0) > 1e6, 'memory of the server')
      return
    }
    assert.ok(measureMs < 4_000, `nothing is counted in ${measureMs} ms`)
  }
}

/**
 * On a busy machine most messages of a short interval may arrive after its end: then the test uses a longer one as
 * well.
 */
async function timesSome(measure: Works['latency']): Promise<void> {
  for (let measureMs = work.measureMs; ; measureMs *= 4) {
    const latency = await measure({ ...work, measureMs, messagesPerS: 500 })
    if (latency.count > 10) {
      assert.ok(latency.p50Ms > 0 && latency.p50Ms <= latency.p99Ms && latency.p99Ms <= latency.maxMs)
      return
    }
    assert.ok(measureMs < 4_000, `${latency.count} messages timed in ${measureMs} ms`)
  }
}

async function delaysAll(delayed: Works['delayed']): Promise<void> {
  const { armed, armMs, late, receivedPerS, serverRssBytes } = await delayed({
    messageBytes: 100,
    armed: 1_000,
    fired: 1_000,
    firedPerS: 5_000,
  })
  assert.is(armed, 1_000)
  assert.is(late.count, 1_000)
  assert.ok(armMs > 0 && receivedPerS > 0 && serverRssBytes > 1e6)
  assert.ok(late.p50Ms <= late.p99Ms && late.p99Ms <= late.maxMs)
}

/** Those of the processes that still run. */
export async function livingOf(pids: readonly number[]): Promise<readonly number[]> {
  const stats = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')))
  return pids.filter((_, i) => {
    const state = /^.*\) (\S)/.exec(stats[i] ?? '')?.[1]
    return state !== undefined && !endedStates.includes(state)
  })
}
