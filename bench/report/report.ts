import { readFile } from 'node:fs/promises'
import type { Machine } from '../lib/machine.js'
import type { ContenderEntry, Failure, RecordedFigure } from '../lib/scenario.js'
import * as check from './check.js'
import { contenderOf } from './tables.js'

/** Changes if a reader of the previous version would misread a file. New fields do not need a new version. */
export const reportFormat = 'millrace-bench/1'

/**
 * The results of a run of the bench, in the form of the file that `--json` writes. Times are in the units
 * in their names; a figure's `values` are in its `unit`, one for each run, in the order of the runs.
 */
export interface Report {
  readonly format: typeof reportFormat
  /** ISO 8601, UTC. */
  readonly startedAt: string
  readonly durationS: number
  /** False after an interruption: scenarios may be missing then. */
  readonly complete: boolean
  readonly machine: Machine
  /** Load average over a minute before the first scenario: above about 1, other programs ran. */
  readonly loadBefore: number
  readonly settings: ReportSettings
  /** The contenders that took part, and those that could not. */
  readonly contenders: readonly ContenderEntry[]
  readonly figures: readonly RecordedFigure[]
  readonly failures: readonly Failure[]
}

export interface ReportSettings {
  readonly quick: boolean
  /** Number of measurements of each figure, unless it has fewer values. */
  readonly runs: number
  readonly warmUpMs: number
  readonly measureMs: number
  /** Size of the log in scenarios that fill one, in 10^9 bytes. */
  readonly gigabytes: number
  /** Name of the file with real data; absent if the lines were generated. */
  readonly sample?: string
  readonly scenarios: readonly string[]
  /** Absent when all took part. */
  readonly contenders?: readonly string[]
}

const { isString, isNumber, isBoolean, isOptional, isListOf, isRecordOf, isObjectOf, isOneOf } = check

const isFigure = isObjectOf({
  scenario: isString,
  name: isString,
  unit: isString,
  better: isOneOf('higher', 'lower'),
  target: isOptional(isNumber),
  pipe: isOptional(isNumber),
  contender: isOptional(isString),
  values: isListOf(isNumber, 1),
  details: isRecordOf(check.isNumberOrString),
  latency: isOptional(isRecordOf(isNumber)),
  series: isOptional(
    isListOf(isObjectOf({ name: isString, unit: isString, points: isListOf(isListOf(isNumber, 2)) })),
  ),
})

const isReport = isObjectOf({
  startedAt: isString,
  durationS: isNumber,
  complete: isBoolean,
  machine: isObjectOf({
    processor: isString,
    processors: isNumber,
    memoryBytes: isNumber,
    system: isString,
    cpuGovernor: isOptional(isString),
    disk: isOptional(
      isObjectOf({
        fileSystem: isString,
        mountOptions: isString,
        device: isString,
        writeCache: isOptional(isString),
        rotational: isOptional(isBoolean),
      }),
    ),
    versions: isRecordOf(isString),
  }),
  loadBefore: isNumber,
  settings: isObjectOf({
    quick: isBoolean,
    runs: isNumber,
    warmUpMs: isNumber,
    measureMs: isNumber,
    gigabytes: isNumber,
    sample: isOptional(isString),
    scenarios: isListOf(isString),
    contenders: isOptional(isListOf(isString)),
  }),
  contenders: isListOf(
    isObjectOf({
      id: isString,
      system: isString,
      durability: isOneOf('fsync', 'default'),
      settings: isListOf(isString),
      versions: isRecordOf(isString),
      skipped: isOptional(isObjectOf({ reason: isString, install: isString })),
    }),
  ),
  figures: isListOf(isFigure),
  failures: isListOf(isObjectOf({ scenario: isString, what: isOptional(isString), error: isString })),
})

/** @throws ReportError naming the file and the first field that is wrong */
export async function readReport(file: string): Promise<Report> {
  try {
    return parseReport(await readFile(file, 'utf8'))
  } catch (error) {
    throw new check.ReportError(`${file} can't be read as a report of the bench: ${reasonOf(error)}`, {
      cause: error,
    })
  }
}

/** @throws ReportError naming the first field that is wrong */
export function parseReport(text: string): Report {
  const value = parseJson(text)
  isObjectOf({})(value, '')
  isOneOf(reportFormat)((value as { readonly format?: unknown }).format, 'format')
  isReport(value, '')
  return value as Report
}

/**
 * Joins reports of the same work on the same machine into one: each figure has the values of all, in their order.
 * Everything else is that of the first report.
 * @throws RangeError if there is no report
 */
export function joinReports(reports: readonly Report[]): Report {
  const [first] = reports
  if (first === undefined) throw new RangeError('there is no report to join')
  const joined = new Map<string, RecordedFigure>()
  for (const figure of reports.flatMap(({ figures }) => figures)) {
    const key = figureKey(figure)
    const before = joined.get(key)
    joined.set(key, { ...(before ?? figure), values: [...(before?.values ?? []), ...figure.values] })
  }
  return {
    ...first,
    durationS: reports.reduce((sum, { durationS }) => sum + durationS, 0),
    complete: reports.every(({ complete }) => complete),
    settings: { ...first.settings, runs: reports.length },
    figures: [...joined.values()],
    failures: reports.flatMap(({ failures }) => failures),
  }
}

/** The identity of a figure's work: equal for the same work in different reports. */
export function figureKey(figure: RecordedFigure): string {
  return [figure.scenario, figure.name, contenderOf(figure), figure.unit].join('\n')
}

/**
 * Indented, but lists of numbers on one line: there may be thousands of points. Strings hold no line breaks in JSON.
 */
export function renderJson(report: Report): string {
  const numbers = /\[\n\s+-?[\d.e+-]+(?:,\n\s+-?[\d.e+-]+)*\n\s+\]/g
  const text = JSON.stringify(report, null, 2).replace(numbers, (list) => list.replace(/\n\s+/g, ' '))
  return `${text}\n`
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new check.ReportError(`it is not JSON (${reasonOf(error)})`, { cause: error })
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
