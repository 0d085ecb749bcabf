import type { Command } from 'commander'
import { pause } from '../../client/backoff.js'
import type { Client } from '../../client/index.js'
import { durationMs } from '../../client/index.js'
import { type Snapshot, snapshotOf, type TopView, viewOf } from '../monitor/snapshot.js'
import { type CommonOptions, duration, withCommon } from '../options.js'
import { formatBytes, tableText, writeOutput } from '../output.js'
import { untilInterrupted } from '../until_interrupted.js'

interface TopOptions extends CommonOptions {
  readonly interval: string
  readonly once?: true
}

const clearScreen = '\u001b[H\u001b[2J'

export function addTop(program: Command): void {
  withCommon(
    program.command('top').description('show the rates of topics and groups, updated at an interval'),
  )
    .option('--interval <time>', 'interval of the updates', duration, '2s')
    .option('--once', 'show one update, then exit')
    .action(top)
}

async function top(options: TopOptions): Promise<void> {
  const intervalMs = Math.max(100, durationMs('interval', options.interval))
  try {
    await untilInterrupted(options, (client, signal) => watch(client, options, intervalMs, signal), {
      isClean: true,
    })
  } finally {
    // Leave the last view above the prompt of the shell.
    if (process.stdout.isTTY === true && options.once === undefined) process.stdout.write('\n')
  }
}

async function watch(
  client: Client,
  options: TopOptions,
  intervalMs: number,
  signal: AbortSignal,
): Promise<void> {
  let before: Snapshot = await snapshotOf(client, signal)
  while (!signal.aborted) {
    await pause(intervalMs, signal)
    if (signal.aborted) return
    const now = await snapshotOf(client, signal)
    const view = viewOf(before, now)
    before = now
    const text = options.json ? `${JSON.stringify(view)}\n` : textOf(view, options)
    if (!(await writeOutput(Buffer.from(text)))) return
    if (options.once) return
  }
}

/** A terminal shows only the newest view, cut to its height. */
function textOf(view: TopView, { once }: TopOptions): string {
  const isScreen = process.stdout.isTTY === true && once === undefined
  const text = `${headOf(view)}\n${tablesOf(view)}`
  if (!isScreen) return `${text}\n`
  const rows = text.split('\n').slice(0, Math.max(1, process.stdout.rows - 1))
  return clearScreen + rows.map((row) => row.slice(0, process.stdout.columns)).join('\n')
}

function headOf({
  at,
  health,
  connections,
  publishedPerSecond,
  publishedBytesPerSecond,
  fetchedPerSecond,
  fetchedBytesPerSecond,
}: TopView): string {
  return [
    `${at}  health ${health}  ${connections} connections`,
    `published ${rate(publishedPerSecond)}/s ${formatBytes(Math.round(publishedBytesPerSecond))}/s`,
    `fetched ${rate(fetchedPerSecond)}/s ${formatBytes(Math.round(fetchedBytesPerSecond))}/s`,
  ].join('  ')
}

function tablesOf({ topics, groups, queues }: TopView): string {
  const tables: string[] = []
  if (topics.length > 0)
    tables.push(
      tableText([
        ['topic', 'partitions', 'published/s', 'messages', 'bytes'],
        ...topics.map((one) => [
          one.topic,
          one.partitions,
          rate(one.publishedPerSecond),
          one.messages,
          formatBytes(one.bytes),
        ]),
      ]),
    )
  if (groups.length > 0)
    tables.push(
      tableText([
        ['group', 'members', 'consumed/s', 'lag', 'state'],
        ...groups.map((one) => [one.group, one.members, rate(one.consumedPerSecond), one.lag, one.state]),
      ]),
    )
  if (queues.length > 0)
    tables.push(
      tableText([
        ['queue group', 'workers', 'done/s', 'waiting', 'in flight', 'delayed', 'dead', ''],
        ...queues.map((one) => [
          one.group,
          one.workers,
          rate(one.donePerSecond),
          one.waiting,
          one.inFlight,
          one.delayed,
          one.dead,
          one.reasons[0] === undefined ? '' : `! ${one.reasons[0]}`,
        ]),
      ]),
    )
  return tables.join('\n')
}

function rate(perSecond: number): number {
  return perSecond >= 10 ? Math.round(perSecond) : Math.round(perSecond * 10) / 10
}
