//! `strftime_now`: the date as templates print it into a system message. In UTC, for a component has no time zone.

const SECONDS_PER_DAY: u64 = 86_400;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Letters of an abbreviated name.
const ABBREVIATED: usize = 3;

/// Formats seconds since 1970 as C's `strftime` does in its own locale. A directive it does not know stays as it is.
pub(super) fn format(now: u64, format: &str) -> String {
    let days = now / SECONDS_PER_DAY;
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (now / 3600 % 24, now / 60 % 60, now % 60);
    let hour12 = (hour + 11) % 12 + 1;
    let month_name = MONTHS[month as usize - 1];
    // 1 January 1970 was a Thursday.
    let weekday = (days + 4) % 7;
    let weekday_name = WEEKDAYS[weekday as usize];
    let mut text = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        text += before;
        // `%-d` is `%d` without its zero.
        let (bare, after) = after
            .strip_prefix('-')
            .map_or((false, after), |after| (true, after));
        let Some(directive) = after.chars().next() else {
            text += if bare { "%-" } else { "%" };
            rest = "";
            break;
        };
        let padded = |value: u64, width: usize| {
            if bare {
                value.to_string()
            } else {
                format!("{value:0width$}")
            }
        };
        text += &match directive {
            'Y' => year.to_string(),
            'y' => padded(year % 100, 2),
            'm' => padded(month, 2),
            'd' => padded(day, 2),
            'e' => format!("{day:2}"),
            'j' => padded(days - days_to_year(year) + 1, 3),
            'H' => padded(hour, 2),
            'I' => padded(hour12, 2),
            'M' => padded(minute, 2),
            'S' => padded(second, 2),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'B' => month_name.to_owned(),
            'b' | 'h' => month_name[..ABBREVIATED].to_owned(),
            'A' => weekday_name.to_owned(),
            'a' => weekday_name[..ABBREVIATED].to_owned(),
            'w' => weekday.to_string(),
            'F' => format!("{year}-{month:02}-{day:02}"),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            'Z' => "UTC".to_owned(),
            'z' => "+0000".to_owned(),
            's' => now.to_string(),
            '%' => "%".to_owned(),
            other => format!("%{}{other}", if bare { "-" } else { "" }),
        };
        rest = &after[directive.len_utf8()..];
    }
    text + rest
}

/// Year, month and day of a number of days since 1970, by the calendar's cycle of 400 years that starts in March.
fn civil(days: u64) -> (u64, u64, u64) {
    // 1 March of the year 0 was 719,468 days before 1970.
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // Months from March have 153 days in each five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (
        cycle * 400 + year_of_cycle + u64::from(month <= 2),
        month,
        day,
    )
}

/// Days from 1970 to the first of January of a year.
fn days_to_year(year: u64) -> u64 {
    let past = year - 1;
    past * 365 + past / 4 - past / 100 + past / 400 - 719_162
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let check = |now: u64, layout: &str, expected: &str| {
            assert_eq!(format(now, layout), expected, "{now}")
        };
        check(
            0,
            "%A, %d %B %Y, %H:%M:%S",
            "Thursday, 01 January 1970, 00:00:00",
        );
        check(
            951_782_399,
            "%a %b %-d %Y %I:%M %p day %j",
            "Mon Feb 28 2000 11:59 PM day 059",
        );
        check(951_782_400, "%Y-%m-%d %j", "2000-02-29 060");
        check(
            1_735_689_599,
            "%F %T %y %w %Z%z",
            "2024-12-31 23:59:59 24 2 UTC+0000",
        );
        check(1_735_689_600, "%e %h %s", " 1 Jan 1735689600");
        check(4_107_542_400, "%d %b %Y", "01 Mar 2100");
    }

    #[test]
    fn what_is_no_directive_stays() {
        assert_eq!(
            format(0, "100%% %q %-q \u{e9}%\u{e9} %"),
            "100% %q %-q \u{e9}%\u{e9} %"
        );
        assert_eq!(format(0, "%-"), "%-");
    }
}
