import { deepStrictEqual, match, rejects, throws } from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from '../../helpers/suite.js'
import { checkHistory } from './checker.js'
import { log } from './checks/expect_findings.js'
import { checks } from './checks.js'
import { HandMade } from './hand_made.js'
import { type HistoryEvent, HistoryWriter, readHistories } from './history.js'

const test = suite('faults/history')

function good(): HandMade {
  const history = new HandMade().publish('p', 'a', 0).fault('inject')
  history.outcome('q', history.begin('q', 'b'), 'info')
  history.outcome('q', history.begin('q', 'x'), 'fail', { error: 'INVALID' })
  history.fault('heal').publish('p', 'c', 2)
  history
    .assigned('m', 1)
    .delivered('m', log('a', 'b', 'c'))
    .processed('m', [0, 1])
    .commit('m', 2, 1)
    .committed(2)
  return history.drains(log('a', 'b', 'c'))
}

test('a correct history passes, and its operations are counted', () => {
  const verdict = checkHistory(good().events)
  deepStrictEqual(verdict, {
    verdict: 'passed',
    findings: [],
    findingsByCheck: Object.fromEntries(checks.map(({ name }) => [name, 0])),
    unknown: [],
    operations: {
      publish: { ok: 2, fail: 1, info: 1 },
      commit: { ok: 1, fail: 0, info: 0 },
      committed: { ok: 1, fail: 0, info: 0 },
      polls: 1,
      recordsDelivered: 3,
      recordsProcessed: 2,
      recordsDrained: 6,
      assignments: 1,
    },
    recoveryMs: [0.02],
    backlogs: [{ group: 'g', topic: 't', partition: 0, committedOffset: 2, endOffset: 3 }],
  })
})

test('a history that proves nothing is unknown', () => {
  const silent = new HandMade()
  silent.begin('p', 'a')
  deepStrictEqual(unknownOf(silent.drains([])), ['no publish was acknowledged'])
  deepStrictEqual(unknownOf(new HandMade().publish('p', 'a', 0)), [
    'there is no drain 1',
    'there is no drain 2',
  ])
  deepStrictEqual(unknownOf(new HandMade().publish('p', 'a', 0).drain(1, log('a'))), ['there is no drain 2'])
  const starved = new HandMade().publish('p', 'a', 0).assigned('m', 1).drains(log('a'))
  deepStrictEqual(unknownOf(starved), ['nothing was delivered to the consumers'])
  deepStrictEqual(checkHistory([]).verdict, 'unknown')
})

function unknownOf({ events }: HandMade): readonly string[] {
  const { verdict, unknown } = checkHistory(events)
  deepStrictEqual(verdict, 'unknown')
  return unknown
}

test('a finding makes it failed, whatever else is unknown', () => {
  const { verdict, unknown } = checkHistory(new HandMade().publish('p', 'a', 0).drain(1, []).events)
  deepStrictEqual([verdict, unknown], ['failed', ['there is no drain 2']])
})

test('the verdict has ten findings of a check, and the number of others', () => {
  const history = new HandMade().publish('p', 'a', 0)
  history.drains(log('a', ...Array.from({ length: 25 }, (_, i) => `x${i}`)))
  const { findings, findingsByCheck } = checkHistory(history.events)
  deepStrictEqual(
    [findings.length, findings.at(-1)?.evidence, findingsByCheck.phantom],
    [11, 'and 15 more', 25],
  )
})

test('a file that is not a history is refused', () => {
  const twice = new HandMade().publish('p', 'a', 0).publish('q', 'a', 1)
  throws(
    () => checkHistory(twice.events),
    /values must be unique: 'a' was published by p at 10 us and by q at 30 us/,
  )
  throws(() => checkHistory(new HandMade().outcome('p', 1, 'ok').events), /p has no call 1 that waits/)
  const answered = new HandMade()
  const id = answered.begin('p', 'a')
  throws(
    () => checkHistory(answered.outcome('p', id, 'info').outcome('p', id, 'ok').events),
    /no call 1 that waits/,
  )
  throws(() => checkHistory(good().events.toReversed()), /not ordered by time/)
  throws(
    () => checkHistory([{ at: 1, process: 'p', type: 'odd' } as unknown as HistoryEvent]),
    /not an event/,
  )
  throws(() => checkHistory([{} as HistoryEvent]), /not ordered by time/)
})

test('files are merged into one history, an incomplete last line is skipped, any other is refused', async ({
  tempDir,
}) => {
  const dir = await tempDir()
  const [one, two] = [join(dir, 'one.jsonl'), join(dir, 'two.jsonl')]
  const lines = good().events.map((event) => `${JSON.stringify(event)}\n`)
  await writeFile(one, `${lines.filter((_, i) => i % 2 === 0).join('')}{"type":"deliv`)
  await writeFile(two, lines.filter((_, i) => i % 2 === 1).join(''))
  deepStrictEqual(await readHistories([one, two]), good().events)
  await writeFile(one, `${lines[0]}{"type":"deliv\n${lines[1]}`)
  await rejects(readHistories([one]), /one\.jsonl, line 2 is no event: \{"type":"deliv/)
})

test('the reader reads the output of the writer', async ({ tempDir }) => {
  const path = join(await tempDir(), 'history.jsonl')
  const writer = new HistoryWriter(path)
  const id = writer.invoke('p', { op: 'publish', topic: 't', value: 'a', lane: 'a' })
  writer.outcome('p', id, 'ok', { partition: 0, offset: 0 })
  writer.close()
  deepStrictEqual(checkHistory(await readHistories([path])).operations.publish, { ok: 1, fail: 0, info: 0 })
})

test('the command prints the verdict and exits with its code', async ({ tempDir }) => {
  const dir = await tempDir()
  const file = async (name: string, events: readonly HistoryEvent[]) => {
    const path = join(dir, name)
    await writeFile(path, events.map((event) => `${JSON.stringify(event)}\n`).join(''))
    return path
  }
  const passed = await run(await file('good', good().events))
  deepStrictEqual(passed.code, 0)
  match(
    passed.stdout,
    /^passed\n.*publish: 2 ok, 1 fail, 1 info.*backlog: g is at 2 of 3 in t\/0.*lost-write +0 /s,
  )
  const lost = new HandMade().publish('p', 'a', 0).publish('p', 'b', -1).drains(log('a'))
  const failed = await run('--json', await file('lost', lost.events))
  deepStrictEqual([failed.code, JSON.parse(failed.stdout).findings[0].check], [1, 'lost-write'])
  const unknown = await run(await file('empty', []))
  deepStrictEqual(unknown.code, 3)
  match(unknown.stdout, /^unknown\nunknown: no publish was acknowledged/)
  for (const args of [[], ['--what'], [join(dir, 'nowhere')], ['--groups-begin', 'middle', 'x']]) {
    deepStrictEqual((await run(...args)).code, 2)
  }
})

function run(...args: readonly string[]): Promise<{ code: number; stdout: string }> {
  const main = fileURLToPath(new URL('main.js', import.meta.url))
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [main, ...args], (_error, stdout) => {
      resolve({ code: child.exitCode ?? -1, stdout })
    })
  })
}

test.run()
