//! When a phase stops, waits, or goes on: the rule and its arithmetic, nothing else.
//!
//! Stop: when the lower bound (one-sided 95 % Clopper-Pearson) of the failure rate among *armed* devices passes
//! the limit, or at `max_failures` (default 1 in phases under 20). Go on: when every armed device has ended and
//! the failures hold the limit; a phase whose devices have all ended is a census: counts, no bound.
//! Looking only at finished devices would pass a release that kills silently: a device that armed counts in the
//! denominator from then on, and in the numerator once it is lost.

/// Limit of the failure rate unless the rollout says otherwise.
pub const DEFAULT_MAX_FAILURE_RATE: f64 = 0.05;
/// Phases of fewer devices than this stop at their first failure unless the rollout says otherwise.
pub const SMALL_PHASE: u32 = 20;
/// Confidence of every bound, one-sided.
pub const CONFIDENCE: f64 = 0.95;

/// How one phase's devices stand. Dormant and withdrawn ones are in none of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Offered, and not yet arming: nothing can have happened to them.
    pub unarmed: u32,
    /// Arming or in trial: silence here is the worst.
    pub in_flight: u32,
    pub confirmed: u32,
    /// Refused or failed before arming: it runs what it ran.
    pub failed_to_install: u32,
    /// Ran it and went back.
    pub rolled_back: u32,
    /// Failed after arming and said so.
    pub failed_after_arming: u32,
    /// Armed, and not heard of since.
    pub lost: u32,
}

/// What a phase is held to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Of armed devices, 0 to 1.
    pub max_failure_rate: f64,
    /// Stop at so many failures of any kind.
    pub max_failures: Option<u32>,
}

/// Whether every device that the phase shall have was offered the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    Partly,
    Wholly,
}

/// What the gate says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    Stop(Stop),
    Wait(Wait),
    GoOn(GoOn),
}

/// Why it stops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stop {
    MaxFailures { failures: u32, max: u32 },
    RatePassed { failures: u32, armed: u32, lower: f64, limit: f64 },
    CensusPassed { failures: u32, devices: u32, limit: f64 },
}

/// What it waits for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wait {
    Admission,
    InFlight {
        devices: u32,
    },
    /// Every armed device has ended, but too few armed to hold the limit without the others.
    TooFew {
        unarmed: u32,
        armed: u32,
        upper: f64,
        limit: f64,
    },
}

/// Why it goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GoOn {
    Census {
        failures: u32,
        devices: u32,
    },
    /// Some have not armed yet, but enough did to be sure.
    Bound {
        failures: u32,
        armed: u32,
        upper: f64,
    },
}

impl Counts {
    /// Failures among armed devices.
    pub fn armed_failures(&self) -> u32 {
        self.rolled_back + self.failed_after_arming + self.lost
    }

    /// Devices that armed, ended or not.
    pub fn armed(&self) -> u32 {
        self.in_flight + self.confirmed + self.armed_failures()
    }

    /// Failures of every kind.
    pub fn failures(&self) -> u32 {
        self.armed_failures() + self.failed_to_install
    }

    /// Devices that ended.
    pub fn ended(&self) -> u32 {
        self.confirmed + self.failures()
    }
}

/// The gate: `phase_devices` is how many the phase shall have.
pub fn judge(counts: &Counts, limits: &Limits, phase_devices: u32, admitted: Admitted) -> Verdict {
    let failures = counts.failures();
    let max_failures = limits.max_failures.or((phase_devices < SMALL_PHASE).then_some(1));
    if let Some(max) = max_failures
        && failures >= max.max(1)
    {
        return Verdict::Stop(Stop::MaxFailures { failures, max });
    }
    let (armed, armed_failures, limit) = (counts.armed(), counts.armed_failures(), limits.max_failure_rate);
    let lower = lower_bound(armed_failures, armed);
    if lower > limit {
        return Verdict::Stop(Stop::RatePassed { failures: armed_failures, armed, lower, limit });
    }
    if admitted == Admitted::Partly {
        return Verdict::Wait(Wait::Admission);
    }
    if counts.in_flight > 0 {
        return Verdict::Wait(Wait::InFlight { devices: counts.in_flight });
    }
    if counts.unarmed == 0 {
        return census(failures, counts.ended(), limit, phase_devices);
    }
    let upper = upper_bound(armed_failures, armed);
    if upper <= limit {
        Verdict::GoOn(GoOn::Bound { failures: armed_failures, armed, upper })
    } else {
        Verdict::Wait(Wait::TooFew { unarmed: counts.unarmed, armed, upper, limit })
    }
}

/// All have ended: counts. In a small phase `max_failures` alone decides, and it held; a rate says nothing there.
fn census(failures: u32, devices: u32, limit: f64, phase_devices: u32) -> Verdict {
    if phase_devices >= SMALL_PHASE && f64::from(failures) > limit * f64::from(devices) {
        return Verdict::Stop(Stop::CensusPassed { failures, devices, limit });
    }
    Verdict::GoOn(GoOn::Census { failures, devices })
}

/// One-sided 95 % Clopper-Pearson lower bound of a rate: the p at which `hits` or more of `n` have chance 5 %.
pub fn lower_bound(hits: u32, n: u32) -> f64 {
    if hits == 0 || n == 0 {
        return 0.0;
    }
    let hits = hits.min(n);
    // P(X >= k) = I_p(k, n - k + 1), rising in p.
    bisect(|p| incomplete_beta(p, f64::from(hits), f64::from(n - hits) + 1.0) < 1.0 - CONFIDENCE)
}

/// One-sided 95 % Clopper-Pearson upper bound of a rate: the p at which `hits` or fewer of `n` have chance 5 %.
pub fn upper_bound(hits: u32, n: u32) -> f64 {
    if hits >= n {
        return 1.0;
    }
    // P(X <= k) = 1 - I_p(k + 1, n - k), falling in p.
    bisect(|p| incomplete_beta(p, f64::from(hits) + 1.0, f64::from(n - hits)) < CONFIDENCE)
}

/// The point of [0, 1] where `below` ceases to hold.
fn bisect(below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if below(middle) { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// I_x(a, b), by the continued fraction (Lentz's method), for a, b >= 1.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x >= 1.0 { 1.0 } else { 0.0 };
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    if needs_few_terms(x, a, b) {
        front * beta_fraction(x, a, b) / a
    } else {
        1.0 - front * beta_fraction(1.0 - x, b, a) / b
    }
}

/// Which of two forms of the same function needs fewer terms.
fn needs_few_terms(x: f64, a: f64, b: f64) -> bool {
    x < (a + 1.0) / (a + b + 2.0)
}

#[expect(clippy::many_single_char_names, reason = "the names of the formula")]
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    let mut c = 1.0;
    let mut d = 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    let mut step = 0.0;
    for m in 1..2000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for term in [even, odd] {
            d = 1.0 / nonzero(1.0 + term * d);
            c = nonzero(1.0 + term / c);
            step = d * c;
            fraction *= step;
        }
        if near_one(step) {
            break;
        }
    }
    debug_assert!(near_one(step), "I_{x}({a}, {b}) has not converged");
    fraction
}

/// Lentz's guard: a divisor is never 0.
fn nonzero(v: f64) -> f64 {
    const TINY: f64 = 1e-300;
    if v.abs() < TINY { TINY } else { v }
}

/// Whether a further term would change nothing.
fn near_one(step: f64) -> bool {
    (step - 1.0).abs() < 1e-15
}

/// ln Γ(x) for x >= 1 (Lanczos, g = 7, 9 terms: 15 digits).
fn ln_gamma(x: f64) -> f64 {
    const HALF_LN_TAU: f64 = 0.918_938_533_204_672_8;
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let series =
        (1u32..).zip(TERMS).fold(0.999_999_999_999_809_9, |sum, (i, term)| sum + term / (x + f64::from(i)));
    let t = x + 7.5;
    HALF_LN_TAU + (x + 0.5) * t.ln() - t + series.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 5e-5
    }

    #[test]
    fn the_form_with_few_terms_is_that_of_the_side_of_the_mean() {
        // (a + 1) / (a + b + 2): 1/2 and 1/3.
        for (a, b, mean) in [(1.0, 1.0, 0.5), (2.0, 5.0, 1.0 / 3.0)] {
            assert!(needs_few_terms(mean - 0.01, a, b), "below {mean}");
            assert!(!needs_few_terms(mean + 0.01, a, b), "above {mean}");
        }
    }

    /// The bound by its definition: the binomial tail itself, summed term by term.
    fn tail_at_least(hits: u32, n: u32, p: f64) -> f64 {
        if p > 0.5 {
            // Counted from the other side: (1 - p)^n would vanish.
            return 1.0 - tail_at_least(n - hits + 1, n, 1.0 - p);
        }
        let mut term = (1.0 - p).powi(i32::try_from(n).expect("small"));
        let mut below = 0.0;
        for k in 0..hits {
            below += term;
            term *= f64::from(n - k) / f64::from(k + 1) * p / (1.0 - p);
        }
        1.0 - below
    }

    #[test]
    fn bounds_agree_with_published_tables_and_closed_forms() {
        // 5 of 5: 0.05^(1/5).
        assert!(near(lower_bound(5, 5), 0.549_28));
        assert!(near(lower_bound(1, 1), 0.05));
        // 1 of n: 1 - 0.95^(1/n); none of n: upper 1 - 0.05^(1/n) (the "rule of three").
        assert!(near(lower_bound(1, 10), 0.005_116));
        assert!(near(lower_bound(1, 20), 0.002_561));
        assert!(near(upper_bound(0, 10), 0.258_866));
        assert!(near(upper_bound(0, 59), 0.049_508));
        assert!(near(upper_bound(0, 58), 0.050_341));
        // Tables of exact limits (5 % and 95 % points): 2 of 10, 3 of 20, 10 of 100.
        assert!(near(lower_bound(2, 10), 0.036_771));
        assert!(near(upper_bound(2, 10), 0.506_901));
        assert!(near(lower_bound(3, 20), 0.042_169));
        assert!(near(upper_bound(3, 20), 0.343_664));
        assert!(near(lower_bound(10, 100), 0.055_263));
        assert!(near(upper_bound(10, 100), 0.163_718));
        for (hits, n, bound) in [(0, 0, 0.0), (0, 9, 0.0), (9, 9, 0.716_871)] {
            assert!(near(lower_bound(hits, n), bound), "{hits} of {n}");
        }
        for (hits, n, bound) in [(0, 0, 1.0), (9, 9, 1.0), (8, 9, 0.994_317)] {
            assert!(near(upper_bound(hits, n), bound), "{hits} of {n}");
        }
    }

    #[test]
    fn bounds_agree_with_the_binomial_tail_summed_term_by_term() {
        for n in [1, 2, 3, 7, 19, 20, 50, 200, 400] {
            for hits in (0..=n).step_by(usize::try_from(n / 7 + 1).expect("small")) {
                if hits > 0 {
                    let p = lower_bound(hits, n);
                    assert!((tail_at_least(hits, n, p) - 0.05).abs() < 1e-6, "lower {hits} of {n}: {p}");
                }
                if hits < n {
                    let p = upper_bound(hits, n);
                    assert!(
                        (1.0 - tail_at_least(hits + 1, n, p) - 0.05).abs() < 1e-6,
                        "upper {hits} of {n}: {p}"
                    );
                }
            }
        }
        let large = lower_bound(50_500, 1_000_000);
        assert!(large > 0.0501 && large < 0.0505, "{large}");
        // What fails is what does not hold: the two bounds mirror each other, at every rate of a large fleet.
        for hits in [1, 100, 50_500, 500_000, 949_500, 999_900, 999_999] {
            let (low, high) = (lower_bound(hits, 1_000_000), upper_bound(1_000_000 - hits, 1_000_000));
            assert!((low + high - 1.0).abs() < 1e-9, "{hits}: {low} {high}");
        }
    }

    #[test]
    fn nothing_is_bounded_by_nothing_and_chances_end_at_0_and_1() {
        for (hits, n) in [(0, 0), (0, 9), (3, 0)] {
            assert!(lower_bound(hits, n) <= 0.0, "{hits} of {n}");
        }
        for (hits, n) in [(0, 0), (9, 9), (3, 0)] {
            assert!(upper_bound(hits, n) >= 1.0, "{hits} of {n}");
        }
        for (x, chance) in [(-1.0, 0.0), (0.0, 0.0), (1.0, 1.0), (2.0, 1.0), (0.5, 0.6875)] {
            // I_0.5(2, 3) = 11/16.
            assert!((incomplete_beta(x, 2.0, 3.0) - chance).abs() < 1e-12, "{x}");
        }
        // Γ(1) = Γ(2) = 1, Γ(11) = 10!.
        for (x, gamma) in [(1.0, 1.0_f64), (2.0, 1.0), (11.0, 3_628_800.0)] {
            assert!((ln_gamma(x) - gamma.ln()).abs() < 1e-12, "{x}");
        }
    }

    fn counts(unarmed: u32, in_flight: u32, confirmed: u32, failed: [u32; 4]) -> Counts {
        let [failed_to_install, rolled_back, failed_after_arming, lost] = failed;
        Counts { unarmed, in_flight, confirmed, failed_to_install, rolled_back, failed_after_arming, lost }
    }

    const FIVE_PERCENT: Limits = Limits { max_failure_rate: DEFAULT_MAX_FAILURE_RATE, max_failures: None };

    #[test]
    fn the_sums_count_what_they_say() {
        let c = counts(1, 2, 4, [8, 16, 32, 64]);
        assert_eq!((c.armed_failures(), c.armed(), c.failures(), c.ended()), (112, 118, 120, 124));
    }

    #[test]
    fn a_small_phase_stops_at_its_first_failure_of_any_kind() {
        for kind in 0..4 {
            let mut failed = [0; 4];
            failed[kind] = 1;
            for admitted in [Admitted::Partly, Admitted::Wholly] {
                let verdict = judge(&counts(3, 2, 1, failed), &FIVE_PERCENT, 19, admitted);
                assert_eq!(verdict, Verdict::Stop(Stop::MaxFailures { failures: 1, max: 1 }));
            }
            let verdict = judge(&counts(3, 2, 1, failed), &FIVE_PERCENT, 20, Admitted::Wholly);
            assert!(matches!(verdict, Verdict::Wait(_)), "{verdict:?}");
        }
        let two = Limits { max_failures: Some(2), ..FIVE_PERCENT };
        let verdict = |n| judge(&counts(0, 0, 18, [n, 0, 0, 0]), &two, 19, Admitted::Wholly);
        assert_eq!(verdict(1), Verdict::GoOn(GoOn::Census { failures: 1, devices: 19 }));
        assert_eq!(verdict(2), Verdict::Stop(Stop::MaxFailures { failures: 2, max: 2 }));
        // 0 would stop before anything happened: it means 1.
        let none = Limits { max_failures: Some(0), ..FIVE_PERCENT };
        assert_eq!(
            judge(&counts(0, 0, 1, [0; 4]), &none, 1, Admitted::Wholly),
            Verdict::GoOn(GoOn::Census { failures: 0, devices: 1 })
        );
        assert!(matches!(
            judge(&counts(0, 0, 1, [0, 1, 0, 0]), &none, 2, Admitted::Wholly),
            Verdict::Stop(_)
        ));
        // A stated number holds in a large phase, too.
        assert!(matches!(
            judge(&counts(900, 0, 98, [0, 2, 0, 0]), &two, 1000, Admitted::Partly),
            Verdict::Stop(Stop::MaxFailures { failures: 2, max: 2 })
        ));
    }

    #[test]
    fn a_large_phase_stops_when_the_lower_bound_among_armed_devices_passes_the_limit() {
        let verdict = |failed: u32, confirmed: u32, flying: u32| {
            judge(&counts(900, flying, confirmed, [0, 0, 0, failed]), &FIVE_PERCENT, 1000, Admitted::Partly)
        };
        // 9 of 100: lower bound 0.0477; 10 of 100: 0.0553.
        assert_eq!(verdict(9, 91, 0), Verdict::Wait(Wait::Admission));
        let Verdict::Stop(Stop::RatePassed { failures: 10, armed: 100, lower, limit }) = verdict(10, 90, 0)
        else {
            panic!("{:?}", verdict(10, 90, 0));
        };
        assert!(near(lower, 0.055_263) && near(limit, 0.05));
        // Devices under way are in the denominator: 10 of 120 holds (0.0459), 10 of 110 does not (0.0501).
        assert_eq!(verdict(10, 90, 20), Verdict::Wait(Wait::Admission));
        assert!(matches!(
            verdict(10, 90, 10),
            Verdict::Stop(Stop::RatePassed { failures: 10, armed: 110, .. })
        ));
        // Failures before arming are not in the rate.
        let not_installed = judge(&counts(0, 1, 90, [10, 0, 0, 0]), &FIVE_PERCENT, 1000, Admitted::Wholly);
        assert_eq!(not_installed, Verdict::Wait(Wait::InFlight { devices: 1 }));
        // Exactly at the limit is not past it: 1 of 1 has the bound 0.05.
        let lenient = Limits { max_failure_rate: lower_bound(1, 1), max_failures: Some(9) };
        assert!(matches!(
            judge(&counts(0, 0, 0, [0, 1, 0, 0]), &lenient, 5, Admitted::Wholly),
            Verdict::GoOn(_)
        ));
    }

    #[test]
    fn a_census_counts_and_needs_no_bound() {
        let verdict = |failed: u32, confirmed: u32| {
            judge(
                &counts(0, 0, confirmed, [0, failed, 0, 0]),
                &FIVE_PERCENT,
                failed + confirmed,
                Admitted::Wholly,
            )
        };
        // 5 of 5 well: no bound could ever pass them, the census does.
        assert_eq!(verdict(0, 5), Verdict::GoOn(GoOn::Census { failures: 0, devices: 5 }));
        assert_eq!(verdict(1, 19), Verdict::GoOn(GoOn::Census { failures: 1, devices: 20 }));
        assert_eq!(verdict(2, 38), Verdict::GoOn(GoOn::Census { failures: 2, devices: 40 }));
        assert_eq!(
            verdict(2, 37),
            Verdict::Stop(Stop::CensusPassed { failures: 2, devices: 39, limit: DEFAULT_MAX_FAILURE_RATE })
        );
        let not_installed = judge(&counts(0, 0, 18, [2, 0, 0, 0]), &FIVE_PERCENT, 20, Admitted::Wholly);
        assert!(matches!(not_installed, Verdict::Stop(Stop::CensusPassed { failures: 2, devices: 20, .. })));
        let nobody = judge(&Counts::default(), &FIVE_PERCENT, 0, Admitted::Wholly);
        assert_eq!(nobody, Verdict::GoOn(GoOn::Census { failures: 0, devices: 0 }));
    }

    #[test]
    fn it_waits_for_every_armed_device_and_passes_stragglers_only_when_sure() {
        let verdict = |unarmed, flying, confirmed| {
            judge(&counts(unarmed, flying, confirmed, [0; 4]), &FIVE_PERCENT, 500, Admitted::Wholly)
        };
        assert_eq!(verdict(0, 1, 499), Verdict::Wait(Wait::InFlight { devices: 1 }));
        assert!(matches!(verdict(442, 0, 58), Verdict::Wait(Wait::TooFew { unarmed: 442, armed: 58, .. })));
        assert!(matches!(verdict(441, 0, 59), Verdict::GoOn(GoOn::Bound { failures: 0, armed: 59, .. })));
        assert!(matches!(verdict(5, 0, 0), Verdict::Wait(Wait::TooFew { .. })));
    }
}
