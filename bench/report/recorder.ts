import type { Machine } from '../lib/machine.js'
import type { ContenderEntry, Failure, RecordedFigure } from '../lib/scenario.js'
import { type Report, type ReportSettings, reportFormat } from './report.js'

/** Collects the results of a run, so that there is a report at any time. */
export class ReportRecorder {
  readonly #startedMs = Date.now()
  readonly #contenders = new Map<string, ContenderEntry>()
  readonly #figures: RecordedFigure[] = []
  readonly #failures: Failure[] = []

  constructor(
    readonly machine: Machine,
    readonly loadBefore: number,
    readonly settings: ReportSettings,
  ) {}

  addFigure(figure: RecordedFigure): void {
    this.#figures.push(figure)
  }

  /** The last entry of a contender counts. */
  addContender(entry: ContenderEntry): void {
    this.#contenders.set(entry.id, entry)
  }

  addFailure(failure: Failure): void {
    this.#failures.push(failure)
  }

  /** @param complete false when the run was interrupted */
  report(complete: boolean): Report {
    return {
      format: reportFormat,
      startedAt: new Date(this.#startedMs).toISOString(),
      durationS: (Date.now() - this.#startedMs) / 1000,
      complete,
      machine: this.machine,
      loadBefore: this.loadBefore,
      settings: this.settings,
      contenders: [...this.#contenders.values()],
      figures: [...this.#figures],
      failures: [...this.#failures],
    }
  }
}
