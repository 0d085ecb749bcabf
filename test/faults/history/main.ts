import { parseArgs } from 'node:util'
import type { CheckOptions } from './check.js'
import { checkHistory, type Verdict } from './checker.js'
import { checks } from './checks.js'
import { readHistories } from './history.js'

const usage = `Judges histories of a broker: the files of one run, which are read as one history.
usage: node dist/test/faults/history/main.js [OPTION]... FILE...
  --json                    print the verdict as JSON
  --rot-injected            stored bytes were damaged on purpose
  --retention               partitions drop their oldest messages
  --groups-begin WHERE      earliest (default) or first-delivery
  --recovery-ms-max N       a publish must succeed within N ms after healing
exits with 0 passed, 1 failed, 2 wrong usage, 3 unknown`

const exitCodes = { passed: 0, failed: 1, unknown: 3 } as const
const wrongUsage = 2

async function main(): Promise<number> {
  const parsed = parse()
  if (typeof parsed === 'string') {
    console.error(`${parsed}\n${usage}`)
    return wrongUsage
  }
  try {
    const verdict = checkHistory(await readHistories(parsed.files), parsed.options)
    console.log(parsed.json ? JSON.stringify(verdict, undefined, 2) : report(verdict))
    return exitCodes[verdict.verdict]
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error))
    return wrongUsage
  }
}

interface Arguments {
  readonly files: readonly string[]
  readonly json: boolean
  readonly options: CheckOptions
}

/** The arguments, or an error message. */
function parse(): Arguments | string {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        'rot-injected': { type: 'boolean', default: false },
        retention: { type: 'boolean', default: false },
        'groups-begin': { type: 'string', default: 'earliest' },
        'recovery-ms-max': { type: 'string' },
      },
    })
    const groupsBegin = values['groups-begin']
    const limit = values['recovery-ms-max']
    if (positionals.length === 0) return 'no file is named'
    if (groupsBegin !== 'earliest' && groupsBegin !== 'first-delivery')
      return `no such --groups-begin: ${groupsBegin}`
    if (limit !== undefined && !(Number(limit) > 0)) return `no number of milliseconds: ${limit}`
    const flags: CheckOptions = {
      rotInjected: values['rot-injected'],
      retention: values.retention,
      groupsBegin,
    }
    const options = limit === undefined ? flags : { ...flags, recoveryMsMax: Number(limit) }
    return { files: positionals, json: values.json, options }
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

function report(verdict: Verdict): string {
  const { publish, commit, committed, polls, recordsDelivered, recordsDrained } = verdict.operations
  const calls = Object.entries({ publish, commit, committed })
  const recovery =
    verdict.recoveryMs.length === 0 ? 'nothing healed' : `${Math.max(...verdict.recoveryMs)} ms at most`
  const width = Math.max(...checks.map(({ name }) => name.length))
  return [
    verdict.verdict,
    ...verdict.unknown.map((reason) => `unknown: ${reason}`),
    '',
    ...calls.map(([name, { ok, fail, info }]) => `${name}: ${ok} ok, ${fail} fail, ${info} info`),
    `records: ${recordsDelivered} delivered in ${polls} polls, ${recordsDrained} drained`,
    `recovery: ${recovery}`,
    ...verdict.backlogs.map(backlogText),
    '',
    ...checks.map(
      ({ name, title }) => `${name.padEnd(width)}  ${verdict.findingsByCheck[name] ?? 0}  ${title}`,
    ),
    ...verdict.findings.map(({ check, evidence }) => `\n${check}: ${evidence}`),
  ].join('\n')
}

function backlogText({
  group,
  topic,
  partition,
  committedOffset,
  endOffset,
}: Verdict['backlogs'][number]): string {
  return `backlog: ${group} is at ${committedOffset} of ${endOffset} in ${topic}/${partition}`
}

process.exitCode = await main()
