import type { Contender, RunningContender } from './contender.js'
import type { BenchContext, FigureOptions, Measured } from './scenario.js'
import { median } from './statistics.js'

/** The result of one kind of work: figures, each with its measured value. */
export type NamedMeasured = readonly (readonly [FigureOptions, Measured])[]

/** Work that the contenders do in turn, run by run. */
export interface Comparison<Work> {
  readonly contenders: readonly Contender[]
  /** The contenders of a quick bench without a selection. */
  isInQuick(contender: Contender): boolean
  readonly works: readonly Work[]
  /** "publish, 100 B" */
  nameOf(work: Work): string
  /** Undefined if the contender cannot do it. */
  measure(running: RunningContender, work: Work): Promise<NamedMeasured>
  /** Target of Millrace, in the unit of the figure. */
  target?(figure: FigureOptions): number | undefined
  /** Target of Millrace as a multiple of the other contender's figure. */
  ratioTarget?(figure: FigureOptions, id: string): number | undefined
}

const ours = 'millrace'
const pipe = 'pipe'

/** Lets all contenders work in turn, run by run, so that changes of the machine affect all of them. */
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

/** The selected contenders that can run here. */
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

/** One run of all the work of a contender; after a failure the rest of the run is skipped. */
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

/** The measured values, by figure, contender and run. */
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

  /** Adds a figure for each contender, and the ratio of Millrace to those with a target. */
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

  /** Millrace's value divided by the other's in the same run. */
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
