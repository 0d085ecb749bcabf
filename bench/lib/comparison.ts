import type { Contender, RunningContender } from './contender.js'
import type { BenchContext, FigureOptions, Measured } from './scenario.js'
import { median } from './statistics.js'

/** What a piece of work gives: figures, each with what was measured in this run. */
export type NamedMeasured = readonly (readonly [FigureOptions, Measured])[]

/** Work that contenders do in turn, run by run. */
export interface Comparison<Work> {
  readonly contenders: readonly Contender[]
  /** Those that take part in a quick bench for which nobody was chosen. */
  isInQuick(contender: Contender): boolean
  readonly works: readonly Work[]
  /** "publish, 100 B" */
  nameOf(work: Work): string
  /** Nothing where the contender can't do it. */
  measure(running: RunningContender, work: Work): Promise<NamedMeasured>
  /** What Millrace wants to reach, in the unit of the figure. */
  target?(figure: FigureOptions): number | undefined
  /** How many times what the other reached Millrace wants to reach. */
  ratioTarget?(figure: FigureOptions, id: string): number | undefined
}

const ours = 'millrace'
const pipe = 'pipe'

/** Lets all contenders work in turn, again and again, so that what changes on the machine meets all of them. */
export async function compare<Work>(context: BenchContext, comparison: Comparison<Work>): Promise<void> {
  const taking = await takingPart(context, comparison)
  const results = new Results(
    comparison,
    taking.map(({ id }) => id),
  )
  for (let run = 0; run < context.runs; run++)
    for (const contender of taking) await runContender(context, comparison, contender, run, results)
  results.addTo(context)
}

/** Those that were asked for and can run here. */
async function takingPart(
  context: BenchContext,
  { contenders, isInQuick }: Pick<Comparison<unknown>, 'contenders' | 'isInQuick'>,
): Promise<readonly Contender[]> {
  const chosen =
    context.contenders === undefined
      ? contenders.filter((contender) => !context.quick || isInQuick(contender))
      : contenders.filter(({ id }) => context.contenders?.includes(id))
  const taking: Contender[] = []
  for (const contender of chosen) {
    try {
      if (await context.contender(contender)) taking.push(contender)
    } catch (error) {
      context.failed(contender.id, error)
    }
  }
  return taking
}

/** One run of all its work; when something fails, the rest of the run is left out. */
async function runContender<Work>(
  context: BenchContext,
  { works, nameOf, measure }: Comparison<Work>,
  contender: Contender,
  run: number,
  results: Results,
): Promise<void> {
  const { id } = contender
  let doing = 'start'
  try {
    const running = await contender.start(context.dataRoot)
    try {
      for (const work of works) {
        doing = nameOf(work)
        context.progress(`${id}, ${doing}: run ${run + 1} of ${context.runs}`)
        for (const [figure, measured] of await measure(running, work)) results.set(figure, id, run, measured)
      }
      doing = 'stop'
    } finally {
      await running.stop()
    }
  } catch (error) {
    context.failed(`${id}, ${doing}`, error)
  }
}

/** What was measured, by figure, contender and run. */
class Results {
  readonly #targets: Pick<Comparison<unknown>, 'target' | 'ratioTarget'>
  readonly #ids: readonly string[]
  readonly #figures = new Map<string, FigureOptions>()
  readonly #measured = new Map<string, Map<number, Measured>>()

  constructor(targets: Pick<Comparison<unknown>, 'target' | 'ratioTarget'>, ids: readonly string[]) {
    this.#targets = targets
    this.#ids = ids
  }

  set(figure: FigureOptions, id: string, run: number, measured: Measured): void {
    this.#figures.set(figure.name, figure)
    this.#measured.set(keyOf(figure, id), this.#runs(figure, id).set(run, measured))
  }

  /** Adds a figure for each contender, and then how Millrace compares with those that it has a target for. */
  addTo(context: BenchContext): void {
    for (const figure of this.#figures.values()) {
      for (const id of this.#ids) context.addMeasured(this.#figureOf(figure, id), this.#all(figure, id))
      for (const id of this.#ids) this.#addRatio(context, figure, id)
    }
  }

  #figureOf(figure: FigureOptions, contender: string): FigureOptions {
    const pipes = this.#all(figure, pipe).map(({ value }) => value)
    const target = contender === ours ? this.#targets.target?.(figure) : undefined
    const goal = target === undefined ? {} : { target }
    const beside = contender === pipe || pipes.length === 0 ? {} : { pipe: median(pipes) }
    return { ...figure, contender, ...goal, ...beside }
  }

  /** Millrace's value divided by the other's of the same run. */
  #addRatio(context: BenchContext, figure: FigureOptions, id: string): void {
    const target = this.#targets.ratioTarget?.(figure, id)
    if (target === undefined) return
    const ratios = [...this.#runs(figure, ours)].flatMap(([run, { value }]) => {
      const other = this.#runs(figure, id).get(run)?.value
      return other === undefined ? [] : [{ value: value / other }]
    })
    const name = `${figure.name}, ${ours} : ${id}`
    context.addMeasured({ name, unit: 'times', better: figure.better, target }, ratios)
  }

  #all(figure: FigureOptions, id: string): readonly Measured[] {
    return [...this.#runs(figure, id).values()]
  }

  #runs(figure: FigureOptions, id: string): Map<number, Measured> {
    return this.#measured.get(keyOf(figure, id)) ?? new Map()
  }
}

function keyOf({ name }: FigureOptions, id: string): string {
  return `${id}: ${name}`
}
